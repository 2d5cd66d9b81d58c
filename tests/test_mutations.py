"""The deliberate faults of `scripts/mutate.py`, which tests must notice, fit the code."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parent.parent
FAULTS: Final[tuple[Any, ...]] = runpy.run_path(str(ROOT / "scripts" / "mutate.py"))["FAULTS"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_a_fault_quotes_code_that_exists_once_and_tests_that_exist(fault: Any) -> None:
    source = (ROOT / "exporter" / "poolscope" / fault.module).read_text()
    assert 1 == source.count(fault.right)
    assert fault.right != fault.wrong
    files = [name.partition("::")[0] for name in fault.tests]
    assert [] == [name for name in files if not (ROOT / name).exists()]
