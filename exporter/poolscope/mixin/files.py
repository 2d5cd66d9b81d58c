"""Writing the files of dashboards and alerts: all or none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def write(out: Path, texts: Mapping[str, str]) -> None:
    """
    Write texts, by their paths below a folder that is made if it is missing; all or none.

    Raises OSError.
    """
    out.mkdir(parents=True, exist_ok=True)
    hidden = {name: _hidden(out / name) for name in texts}
    try:
        for name, path in hidden.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[name], encoding="utf-8")
        for name, path in hidden.items():
            path.replace(out / name)
    finally:
        for path in hidden.values():
            path.unlink(missing_ok=True)


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")
