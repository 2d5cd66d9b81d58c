"""Web config files, as a test writes them, and what is said about those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from poolscope.exporter.web_config import WebConfigError, load


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "web.yml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(WebConfigError) as caught:
        load(path)
    return str(caught.value)
