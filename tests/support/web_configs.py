"""Web config files that a test writes, and the errors of those that are invalid."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolscope.exporter.web_config import WebConfigError, load


def written(folder: Path, text: str | bytes) -> Path:
    """Write a web config file, and return its path."""
    path = folder / "web.yml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path) -> str:
    """Return the error message of a web config file that is refused."""
    with pytest.raises(WebConfigError) as caught:
        load(path)
    return str(caught.value)
