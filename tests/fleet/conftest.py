"""Fixtures of the tests of what other processes read."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolscope.fleet.folder import Folder
from poolscope.ledger import cells
from poolscope.ledger.ledger import Ledger
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock
from support.segments import FACTS, unshared, who


@pytest.fixture
def ledger(folder: Path, clock: FakeClock) -> Ledger:
    """An empty ledger whose cells are a file in the folder."""
    segments = Folder(folder).segments(FACTS, unshared)
    return Ledger(Limits(3, 3, 0), clock, 5.0, segments)


@pytest.fixture
def busy(ledger: Ledger, clock: FakeClock) -> Ledger:
    """A ledger with open, ended, abandoned and overdue holds, a waiting caller, and evidence."""
    ledger.opened(1, "a", clock(), 0.02, True)
    ledger.served("a", clock(), clock() - 0.03, who("pay", "Task-with-ä"), reused=False)
    ledger.opened(2, "b", clock(), 0.02, True)
    ledger.served("b", clock(), clock() - 0.03, who("cart"), reused=False)
    clock.advance(6.0)
    ledger.adopted("c", clock(), True)
    ledger.returned("b", clock())
    ledger.abandoned("a", clock())
    ledger.waiting("x", clock())
    ledger.finished(cells.TIMEOUT, 1.0, 1.0)
    ledger.evidence.add("never-closed", None)
    ledger.evidence.add("nested-acquire", who("pay").site)
    clock.advance(1.5)
    return ledger
