"""
A short run of each state machine, with the same steps each time; `make soak` runs them for long.

Each runs in a process of its own: machines lose connections on purpose, and warnings about these
would be attributed to later tests.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from stateful.machines import ADAPTERS

SOAK = Path(__file__).parent.parent.parent / "scripts" / "soak.py"


def test_after_every_operation_the_numbers_are_true() -> None:
    command = [sys.executable, str(SOAK), "--operations", "1500", "--seed", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == result.returncode, result.stdout + result.stderr
    done = re.findall(r"(\w+): (\d+) operations without a difference", result.stdout)
    assert list(ADAPTERS) == [adapter for adapter, _ in done]
    assert all(int(operations) >= 1500 for _, operations in done)
