"""What is known of one pool, as lines: its holders, processes and findings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from rich.text import Text

from poolscope.terminal.model import PoolRow
from poolscope.terminal.table import SEVERITY_STYLES, duration

Pane = Literal["holders", "processes", "findings"]
PANES: Final[tuple[Pane, ...]] = ("holders", "processes", "findings")

UNKNOWN: Final = "an unknown line"


def details(row: PoolRow, pane: Pane, by_operation: bool = False) -> list[Text]:
    """Return the lines of a pane; the first one is its head."""
    lines = {
        "holders": lambda: _holders(row, by_operation),
        "processes": lambda: _processes(row),
        "findings": lambda: _findings(row),
    }[pane]()
    return [_head(row, pane), *lines]


def _head(row: PoolRow, pane: Pane) -> Text:
    head = Text.assemble((row.pool, "bold"), f" ({row.kind})  ")
    for each in PANES:
        head.append(f" {each} ", "reverse" if each == pane else "dim")
    servers = [f"{each['connections']} seen by {each['server']}" for each in row.raw["servers"]]
    if servers:
        head.append("  " + ", ".join(servers), "dim")
    return head


def _holders(row: PoolRow, by_operation: bool) -> Iterator[Text]:
    holders = row.raw["holders"]
    if row.waiting:
        yield Text.assemble("  ", _waiting(row.waiting, row.oldest_wait))
    if not holders:
        yield Text("nobody holds a connection", "dim")
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for hold in holders:
        groups.setdefault(_group(hold, by_operation), []).append(hold)
    for name, holds in sorted(groups.items(), key=lambda item: -len(item[1])):
        oldest = max(holds, key=lambda hold: hold["held_seconds"])
        line = Text.assemble(
            (f"{len(holds):>4} x ", "bold"),
            name,
            (f"  oldest {duration(oldest['held_seconds']) or '0s'}", "dim"),
        )
        marks = [mark for mark in ("overdue", "abandoned") if any(hold[mark] for hold in holds)]
        if marks:
            line.append(f"  {', '.join(marks)}", "bold red")
        yield line
        owner = oldest["owner"] or "an unknown caller"
        now_at = f", last seen at {oldest['now_at']}" if oldest["now_at"] else ""
        yield Text(f"       {owner} of process {oldest['pid']}{now_at}", "dim")


def _waiting(callers: float, oldest: float) -> Text:
    if not callers:
        return Text("0 waiting")
    longest = duration(oldest) or "0s"
    return Text(f"{callers:.0f} waiting, the longest for {longest}", "bold red")


def _group(hold: Mapping[str, Any], by_operation: bool) -> str:
    site, operation = hold["site"] or UNKNOWN, hold["operation"]
    if by_operation:
        return str(operation or "no operation")
    return f"{site} for {operation}" if operation else str(site)


def _processes(row: PoolRow) -> Iterator[Text]:
    if not row.raw["processes"]:
        yield Text("no process has it any more", "dim")
    for each in sorted(row.raw["processes"], key=lambda each: (-each["waiting"], -each["in_use"])):
        limit = each["limit"] if each["limit"] is not None else "no limit"
        full = each["limit"] is not None and each["in_use"] >= each["limit"]
        yield Text.assemble(
            f"{each['pid']:>8}  ",
            (f"{each['in_use']:.0f} of {limit}", "bold red" if full else ""),
            ", ",
            _waiting(each["waiting"], each["oldest_wait_seconds"]),
            (f", oldest hold {duration(each['oldest_hold_seconds']) or '0s'}", "dim"),
        )


def _findings(row: PoolRow) -> Iterator[Text]:
    if not row.findings:
        yield Text("nothing was found", "dim")
    for each in row.findings:
        yield Text.assemble(
            (each["severity"], SEVERITY_STYLES[each["severity"]]),
            f"  {each['rule']}: {each['message']}",
        )
        for site in each["sites"]:
            yield Text(f"    {site}", "dim")
