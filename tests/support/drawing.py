"""The command that draws dashboards, for tests; import the fixture that a test file needs."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from drawing import install
from support.browsers import PICTURES
from support.tools import missing, required

COMMAND = Path(install.__file__).with_name("draw.py")
PATIENCE = 240.0
"""Seconds; the command itself gives up earlier."""


class Drawn:
    """
    What became of a dashboard that was to be drawn.

    status: of the command.
    said: what is wrong, a line each.
    """

    def __init__(self, picture: Path, *options: str) -> None:
        self.picture = picture
        # A picture of an earlier run says nothing.
        picture.unlink(missing_ok=True)
        ended = subprocess.run(
            [sys.executable, COMMAND, *options],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.status = ended.returncode
        self.said = ended.stderr.splitlines()
        self.panels = ended.stdout.splitlines()

    def size(self) -> tuple[int, int]:
        """Return width and height of the picture, as its first bytes have them."""
        width, height = struct.unpack(">II", self.picture.read_bytes()[16:24])
        return width, height


Draw = Callable[..., Drawn]


@pytest.fixture(scope="session")
def draw(tmp_path_factory: pytest.TempPathFactory) -> Draw:
    """Draws dashboards. A test that needs it is skipped without its tools, but not in CI."""
    required("chromium", "chromium")
    try:
        install.packages()
    except install.MissingToolError as error:
        missing(str(error))
    folder = tmp_path_factory.mktemp("drawn")

    def make(
        name: str,
        dashboard: dict[str, Any],
        prometheus: str,
        chosen: Mapping[str, str] | None = None,
        allowed: Iterable[str] = (),
    ) -> Drawn:
        file = folder / f"{name}.json"
        file.write_text(json.dumps(dashboard))
        picture = PICTURES / f"dashboard-{name}.png"
        options = [f"--var={variable}={value}" for variable, value in (chosen or {}).items()]
        options += [f"--allow={problem}" for problem in allowed]
        # As long as there has been a demo at least.
        options += ["--minutes=1"]
        return Drawn(picture, str(file), prometheus, str(picture), *options)

    return make
