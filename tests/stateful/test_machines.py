"""
A short run of each state machine, with the same steps each time; `make soak` runs them for long.

In a process of its own, as machines lose connections on purpose, and what then is collected would
be laid at the door of the tests that come after.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from stateful.machines import ADAPTERS

SOAK = Path(__file__).parent.parent.parent / "scripts" / "soak.py"


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_whatever_happens_the_numbers_are_true(adapter: str) -> None:
    command = [sys.executable, str(SOAK), "--operations", "1500", "--seed", "1", adapter]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == result.returncode, result.stdout + result.stderr
    done = re.search(rf"{adapter}: (\d+) operations and no difference", result.stdout)
    assert done is not None
    assert int(done.group(1)) >= 1500
