"""The fixture that draws dashboards with the command `draw.py`; import it where it is needed."""

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
"""Seconds; the command itself times out earlier."""


class Drawn:
    """
    The result of drawing a dashboard.

    status: the exit status of the command.
    problems: what is wrong, a line each.
    panels: a line for each panel.
    """

    def __init__(self, picture: Path, *options: str) -> None:
        self.picture = picture
        # A picture of an earlier run would hide that none was written.
        picture.unlink(missing_ok=True)
        ended = subprocess.run(
            [sys.executable, COMMAND, *options],
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.status = ended.returncode
        self.problems = ended.stderr.splitlines()
        self.panels = ended.stdout.splitlines()

    def size(self) -> tuple[int, int]:
        """Return the width and height of the picture, from the header of the PNG."""
        width, height = struct.unpack(">II", self.picture.read_bytes()[16:24])
        return width, height


Draw = Callable[..., Drawn]


@pytest.fixture(scope="session")
def draw(tmp_path_factory: pytest.TempPathFactory) -> Draw:
    """Returns a function that draws a dashboard."""
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
        # The demo has run for at least that long.
        options += ["--minutes=1"]
        return Drawn(picture, str(file), prometheus, str(picture), *options)

    return make
