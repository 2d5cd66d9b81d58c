"""Processes that measure, in this environment and in a second one that has OpenTelemetry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
REQUIREMENTS: Final = ROOT / "benchmarks" / "opentelemetry.txt"
SECOND: Final = ROOT / ".nox" / "bench-opentelemetry"

HERE: Final = Path(sys.executable)


def second() -> Path:
    """Return the Python that has OpenTelemetry, in an environment that is made on first use."""
    python, made = SECOND / "bin" / "python", SECOND / ".made"
    wanted = REQUIREMENTS.read_text()
    if not made.exists() or made.read_text() != wanted:
        sys.stderr.write(f"making {SECOND.relative_to(ROOT)} ...\n")
        venv.create(SECOND, clear=True, with_pip=True)
        install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        subprocess.run([python, *install, "-r", REQUIREMENTS], check=True)  # noqa: S603 - our own
        made.write_text(wanted)
    return python


def measured(module: str, python: Path = HERE, **options: Any) -> Any:
    """Have a process of its own measure something; return what it says."""
    result = subprocess.run(  # noqa: S603 - our own
        [python, "-W", "error::ResourceWarning", "-m", f"benchmarks.{module}", json.dumps(options)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
        check=True,
    )
    return json.loads(result.stdout)


def measured_by(processes: int, module: str, python: Path = HERE, **options: Any) -> list[Any]:
    """Have that many processes measure, one after the other; return what each says."""
    return [measured(module, python, **options) for _ in range(processes)]


def environment() -> dict[str, str]:
    """
    Return the variables of a process that measures: nothing there is poolscope's, and what is
    compiled is kept, as an installer does.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if "POOLSCOPE" not in name and name != "PYTHONDONTWRITEBYTECODE"
    }
    # Strings have the same hash, and sets the same order, in each run.
    return {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'exporter'}", "PYTHONHASHSEED": "0"}
