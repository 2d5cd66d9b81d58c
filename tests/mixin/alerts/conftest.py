"""Fixtures for the tests of the alerts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from poolscope.mixin.alerts.options import Options
from poolscope.mixin.alerts.write import write

# promtool needs little memory; to collect its garbage less often saves a sixth of its time.
os.environ.setdefault("GOGC", "400")


@pytest.fixture(scope="session")
def defaults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all files, for the default options."""
    folder = tmp_path_factory.mktemp("defaults")
    write(folder, Options())
    return folder
