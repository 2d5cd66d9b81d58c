"""Fixtures for the tests of the alerts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from poolscope.mixin.alerts.options import Options
from poolscope.mixin.alerts.write import write


@pytest.fixture(scope="session")
def amtool() -> str:
    """The path of amtool. Without it, the test is skipped, or fails in CI."""
    found = shutil.which("amtool")
    if found is None:
        missing = "amtool is missing; on Debian: apt-get install prometheus-alertmanager"
        if os.environ.get("POOLSCOPE_REQUIRE_TOOLS"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest.fixture(scope="session")
def defaults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all files, for the default options."""
    folder = tmp_path_factory.mktemp("defaults")
    write(folder, Options())
    return folder
