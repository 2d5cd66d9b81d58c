"""
Show that the tests can fail: put one deliberate fault after the other into a copy of the package,
and run the tests that ought to notice.

    mutate.py [WORD ...]    only the faults whose description has one of the words

The faults are in `faults/`, a file for each folder of the package: what is wrong with them, the
module, the text that is right, the text that takes its place, and the tests that ought to notice.

Exits with 1 if a fault goes unnoticed, or cannot be put in because the code has changed.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Fault:
    """In `module`, `right` becomes `wrong`; `tests` are those that ought to notice."""

    what: str
    module: str
    right: str
    wrong: str
    tests: tuple[str, ...]


FAULTS = tuple(
    Fault(*row)
    for path in sorted((ROOT / "scripts" / "faults").glob("*.py"))
    for row in runpy.run_path(str(path))["FAULTS"]
)


def noticed(fault: Fault) -> bool | None:
    """Return whether the tests fail with the fault in; None if it cannot be put in."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "poolscope"
        shutil.copytree(ROOT / "exporter" / "poolscope", package)
        module = package / fault.module
        text = module.read_text()
        if text.count(fault.right) != 1:
            return None
        module.write_text(text.replace(fault.right, fault.wrong))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "--timeout=120",
            *fault.tests,
        ]
        environment = {**os.environ, "PYTHONPATH": folder}
        result = subprocess.run(  # noqa: S603 - our own tests
            command, cwd=ROOT, env=environment, capture_output=True, check=False
        )
    # 1 is what pytest returns if tests ran and failed; anything else would be no proof.
    return result.returncode == 1


def main() -> int:
    words = sys.argv[1:]
    chosen = [fault for fault in FAULTS if not words or any(word in fault.what for word in words)]
    verdicts = {True: "noticed", False: "NOT NOTICED", None: "CANNOT BE PUT IN"}
    missed = 0
    for fault in chosen:
        result = noticed(fault)
        missed += result is not True
        print(f"{verdicts[result]:>16}  {fault.module}: {fault.what}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} faults were noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
