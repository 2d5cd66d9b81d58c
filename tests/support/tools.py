"""Programs that tests need."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def required(name: str, package: str) -> str:
    """Return the path of a program. A test that needs it is skipped without, but not in CI."""
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is missing; on Debian: apt-get install {package}")
    return found


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail in CI."""
    if os.environ.get("POOLSCOPE_REQUIRE_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)
