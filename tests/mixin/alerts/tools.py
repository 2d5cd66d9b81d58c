"""Running promtool and amtool, which write errors to stdout or stderr."""

from __future__ import annotations

import subprocess
from pathlib import Path


def output(*command: str | Path, folder: Path | None = None) -> tuple[int, str]:
    """Return the exit code, and all output."""
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
    """Return the output if the command failed, else an empty text."""
    code, text = output(*command, folder=folder)
    return text if code else ""
