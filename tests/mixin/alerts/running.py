"""Running promtool and amtool, which write what is wrong to one of their outputs."""

from __future__ import annotations

import subprocess
from pathlib import Path


def output(*command: str | Path, folder: Path | None = None) -> tuple[int, str]:
    """Return the exit code, and all that was said."""
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def problems(*command: str | Path, folder: Path | None = None) -> str:
    """Return what was said if it failed, else nothing."""
    code, said = output(*command, folder=folder)
    return said if code else ""
