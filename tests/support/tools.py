"""Programs that tests need."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def required(name: str, package: str, *other_names: str) -> str:
    """
    Return the path of a program, by the first of its names that is installed.

    If there is none, the test is skipped, or fails in CI; `package` is Debian's.
    """
    # Debian installs some servers where only root looks for programs.
    folders = os.pathsep.join([*os.get_exec_path(), "/usr/sbin"])
    paths = (shutil.which(each, path=folders) for each in (name, *other_names))
    path = next(filter(None, paths), None)
    if path is None:
        missing(f"{name} is missing; on Debian: apt-get install {package}")
    return path


def missing(reason: str) -> NoReturn:
    """Skip the test, or let it fail in CI, where all tools are installed."""
    if os.environ.get("POOLSCOPE_REQUIRE_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)
