"""A ledger for the tests of this folder."""

from __future__ import annotations

import pytest

from poolscope.ledger.ledger import Ledger
from poolscope.readings.limits import Limits
from poolscope.testing import FakeClock


@pytest.fixture
def ledger(clock: FakeClock) -> Ledger:
    return Ledger(Limits(limit=2, idle_limit=2, idle_floor=0), clock)
