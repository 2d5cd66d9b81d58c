"""
The pytest plugin: `pytest --poolscope` watches every pool that tests make.

A test fails that leaves a connection out which it has acquired, with the line. What was found is
printed at the end, and what is still out then, by fixtures too. Without the option, the plugin does
nothing.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from poolscope.readings.findings import Finding
    from poolscope.readings.holders import Hold

OPTION: Final = "--poolscope"

READINGS: Final = 20
"""How often the holders are read at most, if it takes too long to tell when a hold began."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("poolscope").addoption(
        OPTION,
        action="store_true",
        default=False,
        dest="poolscope",
        help="watch the connection pools that tests make: a test that leaves a connection out "
        "fails, and mistakes are reported at the end",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("poolscope"):
        import poolscope

        poolscope.autowatch()
        config.pluginmanager.register(Checker(config), "poolscope-checker")


class Checker:
    """Looks at the pools around each test."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._calls: dict[str, tuple[float, float]] = {}
        self._of_workers: list[Finding] = []
        self._out = Counter[str]()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        began = time.monotonic()
        try:
            return (yield)
        finally:
            self._calls[item.nodeid] = began, time.monotonic()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Iterator[None]:
        result = yield
        began, ended = self._calls.pop(item.nodeid, (0.0, 0.0))
        # What fixtures have acquired may be for other tests, too.
        left = _left(began, ended)
        if left:
            gc.collect()  # a connection may come back when what refers to it is collected
            left = _left(began, ended)
        if left:
            pytest.fail("\n".join(map(_described, left)), pytrace=False)
        return result

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        gc.collect()
        # All fixtures have ended.
        self._out.update(_still_out())
        output: dict[str, Any] | None = getattr(self._config, "workeroutput", None)
        if output is not None:  # of pytest-xdist
            output["poolscope"] = [_packed(finding) for finding in _findings()]
            output["poolscope_out"] = dict(self._out)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        from poolscope.readings.findings import Finding

        output = getattr(node, "workeroutput", {})
        self._out.update(output.get("poolscope_out", {}))
        packed = output.get("poolscope", ())
        self._of_workers += [
            Finding(pool, kind, rule, severity, message, tuple(sites))
            for pool, kind, rule, severity, message, sites in packed
        ]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        from poolscope.checking.formats import text
        from poolscope.checking.found import Checked, sorted_findings

        findings = sorted_findings([*self._of_workers, *_findings()])
        lines = text(Checked("this run", tuple(findings), ()), findings).splitlines()[:-1]
        lines += [f"still out at the end: {count} x {what}" for what, count in self._out.items()]
        if lines:
            terminalreporter.section("poolscope")
        for line in lines:
            terminalreporter.write_line(line)


def _left(began: float, ended: float) -> list[Hold]:
    """Return the connections that are out and were certainly acquired in that time."""
    import poolscope

    for _ in range(READINGS):
        before, holds, after = time.monotonic(), poolscope.holders(), time.monotonic()
        meant = [hold for hold in holds if not hold.on_purpose]
        # Each began between `before` and `after`, less the time that it has been held.
        possible = [
            hold
            for hold in meant
            if before - hold.held_seconds <= ended and after - hold.held_seconds >= began
        ]
        certain = [hold for hold in possible if before - hold.held_seconds >= began]
        if certain == possible:
            break
    return certain


def _still_out() -> Iterator[str]:
    import poolscope

    for hold in poolscope.holders():
        if not hold.on_purpose:
            yield f"a connection of pool {hold.pool!r} ({hold.kind}), acquired at {_site(hold)}"


def _described(hold: Hold) -> str:
    return (
        f"the test has left a connection of pool {hold.pool!r} ({hold.kind}) out, acquired at "
        f"{_site(hold)}"
    )


def _site(hold: Hold) -> str:
    return hold.site or "an unknown line"


def _findings() -> list[Finding]:
    import poolscope

    return poolscope.findings()


def _packed(finding: Finding) -> list[Any]:
    values = finding.pool, finding.kind, finding.rule, finding.severity, finding.message
    return [*values, list(finding.sites)]
