"""Writing the generated files: all or none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def write(out: Path, texts: Mapping[str, str]) -> None:
    """
    Write texts to their paths below a folder, which is created if it does not exist; all or none.

    Raises OSError.
    """
    out.mkdir(parents=True, exist_ok=True)
    temporary = {name: _temporary(out / name) for name in texts}
    try:
        for name, path in temporary.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[name], encoding="utf-8")
        for name, path in temporary.items():
            path.replace(out / name)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """Return the path that a file is written to before it is moved to its place."""
    return path.with_name(f".{path.name}.{os.getpid()}")
