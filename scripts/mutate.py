"""
Show that the tests find faults: apply deliberate faults, one at a time, to a copy of the package,
and run the tests that must fail.

    mutate.py [WORD ...]    only the faults whose description contains one of the words

The faults are in `faults/`, a file for each folder of the package. Each has a description, the
module, the correct text, the text that replaces it, and the tests that must fail.

Exits with 1 if a fault is not found, or cannot be applied because the code has changed.
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
    """A change of `module` from `right` to `wrong`, after which `tests` must fail."""

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


def is_found(fault: Fault) -> bool | None:
    """Return whether the tests fail with this fault; None if it cannot be applied."""
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
    # pytest exits with 1 if tests have failed; any other code proves nothing.
    return result.returncode == 1


def main() -> int:
    words = sys.argv[1:]
    chosen = [fault for fault in FAULTS if not words or any(word in fault.what for word in words)]
    verdicts = {True: "found", False: "NOT FOUND", None: "CANNOT BE APPLIED"}
    missed = 0
    for fault in chosen:
        result = is_found(fault)
        missed += result is not True
        print(f"{verdicts[result]:>17}  {fault.module}: {fault.what}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} faults were found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
