"""Runs measuring processes, in this environment or in a second one that has OpenTelemetry."""

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
OPENTELEMETRY_ENVIRONMENT: Final = ROOT / ".nox" / "bench-opentelemetry"

THIS_PYTHON: Final = Path(sys.executable)


def opentelemetry_python() -> Path:
    """Return the Python of the environment that has OpenTelemetry; make that on first use."""
    folder = OPENTELEMETRY_ENVIRONMENT
    python, marker = folder / "bin" / "python", folder / ".made"
    requirements = REQUIREMENTS.read_text()
    if not marker.exists() or marker.read_text() != requirements:
        sys.stderr.write(f"making {folder.relative_to(ROOT)} ...\n")
        venv.create(folder, clear=True, with_pip=True)
        install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        subprocess.run([python, *install, "-r", REQUIREMENTS], check=True)  # noqa: S603 - our own
        marker.write_text(requirements)
    return python


def measure(module: str, python: Path = THIS_PYTHON, **options: Any) -> Any:
    """Run a module of the benchmarks in a new process; return its result."""
    result = subprocess.run(  # noqa: S603 - our own
        [python, "-W", "error::ResourceWarning", "-m", f"benchmarks.{module}", json.dumps(options)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=environment(),
        check=True,
    )
    return json.loads(result.stdout)


def measure_repeatedly(
    processes: int, module: str, python: Path = THIS_PYTHON, **options: Any
) -> list[Any]:
    """Run that many processes, one after the other; return the result of each."""
    return [measure(module, python, **options) for _ in range(processes)]


def environment() -> dict[str, str]:
    """
    Return the environment variables of a measuring process.

    It has no setting of poolscope, and keeps compiled modules, as an installed package does.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if "POOLSCOPE" not in name and name != "PYTHONDONTWRITEBYTECODE"
    }
    # String hashes, and so the order of sets, are the same in each run.
    return {**kept, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'exporter'}", "PYTHONHASHSEED": "0"}
