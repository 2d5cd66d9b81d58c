"""The attack on shared files, in its short form; `make attack` runs the long one."""

from __future__ import annotations

import pytest
from scripts.attack import files

SECONDS = 20.0


@pytest.mark.timeout(180)
def test_kills_and_full_disks_lose_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert [] == files.attack(SECONDS)
    assert "written down" in capsys.readouterr().out
