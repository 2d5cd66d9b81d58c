"""The advice as text, in sentences and one table, and as JSON."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Iterator
from typing import Any, Final

from poolscope.sizing.advice import FEW_ATTEMPTS, Advice, Candidate
from poolscope.sizing.measured import Measured

ARGUMENTS: Final = {
    "sqlalchemy": "create_engine(..., pool_size={size}, max_overflow=0)",
    "asyncpg": "create_pool(..., min_size={least}, max_size={size})",
    "aiohttp": "TCPConnector(limit={size})",
}
"""What to paste, by kind."""

SEED: Final = "(concurrent requests / queries per request) x 1.5"


def text(advice: Advice, width: int = 100) -> str:
    """Return lines for a terminal of that many columns; the first is the verdict."""
    lines = textwrap.wrap(f"{_name(advice.measured)}: {_verdict(advice)}", max(40, width))
    if advice.candidates:
        lines += ["", *_table(advice), "", f"  {_paste(advice)}", ""]
    for sentence in _basis(advice):
        lines += textwrap.wrap(
            sentence, max(40, width), initial_indent="  ", subsequent_indent="  "
        )
    return "\n".join(lines)


def recommended(advice: Advice) -> int:
    """Return the size that is advised for each process; 0 if there is no advice."""
    sizes = {each.name: each.size for each in advice.candidates}
    if not sizes:
        return 0
    return min(sizes["comfortable"], max(sizes["smallest"], advice.ceiling or sizes["comfortable"]))


def as_json(advice: Advice) -> dict[str, Any]:
    """Return the advice as JSON; what is infinite is null, and durations are in seconds."""
    measured = advice.measured
    return {
        "pool": measured.pool,
        "kind": measured.kind,
        "labels": measured.where,
        "verdict": advice.verdict,
        "recommended": recommended(advice) or None,
        "size": _finite(advice.size),
        "processes": _finite(measured.instances),
        "goal": dataclasses.asdict(advice.goal),
        "candidates": [
            {key: _finite(value) for key, value in dataclasses.asdict(each).items()}
            for each in advice.candidates
        ],
        "ceiling": advice.ceiling,
        "deadlock_floor": advice.floor or None,
        "wait_p99": {
            "predicted": _finite(advice.predicted),
            "measured": None
            if measured.is_given
            else [_finite(bound) for bound in advice.measured_wait],
        },
        "measured": {
            "seconds": measured.seconds,
            "rate": measured.rate,
            "hold": measured.hold,
            "load": measured.load,
            "variation": advice.variation,
            "waited": measured.waited,
            "gave_up": measured.gave_up,
            "nested": measured.nested,
            "peak": measured.peak,
        },
        "split": [{"processes": count, "size": size} for count, size in advice.split],
        "seed_formula": advice.seed or None,
        "reasons": list(reasons(advice)),
    }


def reasons(advice: Advice) -> Iterator[str]:
    """Yield the sentences that qualify the advice."""
    measured = advice.measured
    if advice.verdict == "none":
        if not measured.attempts:
            yield "Nobody asked for a connection in this time."
        elif not measured.acquired:
            yield "Nobody got a connection in this time: first find out why."
        elif measured.acquired >= FEW_ATTEMPTS:
            yield f"A load of {measured.load:.6g} connections is none that a pool could have."
        else:
            yield f"{measured.acquired:.0f} callers say too little; it takes {FEW_ATTEMPTS}."
        return
    if advice.verdict == "untrusted":
        yield (
            f"The model says that 99 of 100 callers wait at most {_time(advice.predicted)} at the "
            f"present size, but {_range(advice.measured_wait)} was measured. Bursts, nested "
            "acquires, locks or a blocked event loop do that, and no size can be computed from it."
        )
    if measured.gave_up:
        yield (
            f"{measured.gave_up:.0f} callers got no connection: the load is at least this, and "
            "more callers may come once they are served."
        )
    if advice.floor:
        yield (
            f"{measured.nested:.0f} callers held a connection already: mend that first (`poolscope "
            f"check` names the line). Until then, fewer than {advice.floor} may deadlock."
        )
    if advice.knee is not None:
        (least, fast), (most, slow) = advice.knee.least, advice.knee.most
        yield (
            f"Holds took {_time(fast)} at {least:.1f} in use and {_time(slow)} at {most:.1f} "
            f"(r² {advice.knee.fit:.2f}): the server is the bottleneck, and a larger pool only "
            "moves the queue into it. Do not grow."
        )
    if advice.verdict == "unreachable":
        has = f"The server has {advice.ceiling} connections for each process."
        if advice.is_assumed:
            has = (
                f"Unless you give --max-connections or --postgres, a pool gets {advice.ceiling}: "
                "half of what PostgreSQL accepts by default."
            )
        yield f"{has} Fewer processes, or PgBouncer, share better; see the line on processes."
    if advice.size == math.inf:
        yield "The pool has no limit now, so nothing keeps a slow server from being flooded."


def _verdict(advice: Advice) -> str:
    measured, best = advice.measured, recommended(advice)
    if advice.verdict == "none":
        return "no advice"
    if advice.verdict == "untrusted":
        return "no advice, because the model is not what was measured"
    each = f" in each of {measured.instances:.0f} processes" if measured.instances > 1 else ""
    if advice.verdict == "unreachable":
        smallest = advice.candidates[0].size
        than = "one pool should have" if advice.is_assumed else "the server has"
        return f"the goal needs {_connections(smallest)}{each}, more than {than}"
    now = "" if math.isnan(advice.size) else f"; now {_limit(advice.size)}"
    if advice.verdict == "keep":
        return f"keep {_connections(advice.size)}{each}"
    if advice.verdict == "shrink" and advice.size < math.inf:
        now += f", {advice.size - best:.0f} more than it needs"
    return f"{_connections(best)}{each}{now}"


def _connections(number: float) -> str:
    return f"{_limit(number)} connection{'s' * (number != 1)}"


def _basis(advice: Advice) -> Iterator[str]:
    measured = advice.measured
    if advice.verdict != "none":
        begin = "There are" if measured.is_given else f"In {measured.seconds:.0f} s there were"
        varied = f" (Squared variation of the hold times: {advice.variation:.1f}.)"
        yield (
            f"Goal: {advice.goal}. {begin} {measured.rate:.1f} callers a second, each for "
            f"{_time(measured.hold)}: {measured.load:.1f} connections on average."
            f"{'' if measured.is_given else varied}"
        )
    if advice.verdict in ("grow", "shrink", "keep", "unreachable") and _is_limited(advice):
        waits = (
            f"At the present size the model says {_time(advice.predicted)} for 99 of 100 callers"
        )
        yield f"{waits}{_found(advice)}."
    if advice.split:
        sizes = ", ".join(f"{count} x {size}" for count, size in advice.split)
        yield f"Processes do not share. The same load needs {sizes} connections."
    if advice.candidates:
        yield (
            f"The formula {SEED} says {advice.seed}. It knows neither the goal nor how long a "
            "connection is held."
        )
    yield from reasons(advice)


def _is_limited(advice: Advice) -> bool:
    return 1 <= advice.size < math.inf


def _found(advice: Advice) -> str:
    return "" if advice.measured.is_given else f"; {_range(advice.measured_wait)} was measured"


def _table(advice: Advice) -> Iterator[str]:
    yield f"{'':14}{'size':>6}{'who waits':>11}{'p99 wait':>11}{'in use':>9}  connections"
    for each in advice.candidates:
        yield (
            f"  {each.name:12}{each.size:>6}{_share(each.waiting):>11}{_time(each.wait_p99):>11}"
            f"{_share(each.utilization):>9}  {each.total}{_missed(each)}"
        )


def _missed(candidate: Candidate) -> str:
    return "" if candidate.meets_goal else ", misses the goal"


def _paste(advice: Advice) -> str:
    size = recommended(advice)
    template = ARGUMENTS.get(advice.measured.kind, "a limit of {size}")
    least = max(1, min(size, math.ceil(advice.load)))
    return template.format(size=size, least=least)


def _name(measured: Measured) -> str:
    where = ", ".join(f"{name}={value}" for name, value in sorted(measured.where.items()))
    kind = f" ({measured.kind})" if measured.kind else ""
    return f"{measured.pool}{kind}" + (f" of {where}" if where else "")


def _limit(size: float) -> str:
    return "unlimited" if size == math.inf else f"{size:g}"


def _share(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")


def _time(seconds: float) -> str:
    if seconds == math.inf:
        return "for ever"
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _range(bounds: tuple[float, float]) -> str:
    low, high = bounds
    return _time(high) if low == high else f"{_time(low)} to {_time(high)}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
