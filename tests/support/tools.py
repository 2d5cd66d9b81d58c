"""Programs that tests need."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def required(name: str, package: str) -> str:
    """Return the path of a program. Without it the test is skipped, and fails in CI."""
    path = shutil.which(name)
    if path is None:
        missing(f"{name} is missing; on Debian: apt-get install {package}")
    return path


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail in CI."""
    if os.environ.get("POOLSCOPE_REQUIRE_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)
