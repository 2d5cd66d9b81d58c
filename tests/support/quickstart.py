"""The programs of docs/quickstart.md: their files and commands, word for word, in a fresh venv."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from support.tools import missing, required
from support.waiting import PATIENCE, until

ROOT: Final = Path(__file__).parents[2]
CONSTRAINTS: Final = ROOT / "constraints.txt"
PAGE: Final = (ROOT / "docs" / "quickstart.md").read_text()

INSTALL_SECONDS: Final = 240.0
"""For `pip install`, on a machine that does other things as well."""

ROOT_USER: Final = os.geteuid() == 0
"""Only others need a namespace of users to have one of networks."""


class Block(NamedTuple):
    """A block of code: its language, its title, and what stands in it."""

    language: str
    title: str
    text: str


def tabs() -> dict[str, list[Block]]:
    """Return the blocks that have a title, by the title of their tab."""
    body = PAGE[PAGE.index("<!-- tabs -->") : PAGE.index("<!-- /tabs -->")]
    title, *rest = re.split(r"^### (.+)\n", body, flags=re.MULTILINE)[1:]
    parts = [title, *rest]
    block = re.compile(r'^```(\w+) title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
    return {
        name: [Block(*found) for found in block.findall(text)]
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def wheels(folder: Path) -> Path:
    """
    Put poolscope, as it would be published, and all that the tabs install, into the folder.

    So an index is asked once, and not for each tab.
    """
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([*pip, *build], check=True)
    installs = [block.text for blocks in tabs().values() for block in blocks]
    wanted = {
        word
        for text in installs
        if text.startswith("pip install ")
        for word in shlex.split(text)[2:]
    }
    download = ["download", "--find-links", str(folder), "--dest", str(folder), *sorted(wanted)]
    subprocess.run([*pip, *download, "--constraint", str(CONSTRAINTS)], check=True)
    return folder


class Host:
    """
    A host of its own, as far as ports and processes go, with a folder and a fresh venv.

    All ports are free there, so that commands need not be changed. A PostgreSQL server is reached
    by its Unix socket.
    """

    def __init__(self, folder: Path, first: int, environment: dict[str, str]) -> None:
        """`first`: the first process there; all others end with it."""
        self.folder: Final = folder
        self._enter: Final = [
            required("nsenter", "util-linux"), "--target", str(first), "--net", "--pid", "--mount",
            *(() if ROOT_USER else ("--user", "--preserve-credentials")),
            "bash", "-euc",
        ]  # fmt: skip
        self._environment: Final = environment
        self._started: Final[list[subprocess.Popen[str]]] = []

    def install(self, command: str) -> None:
        """Run a command where there is a network."""
        subprocess.run(
            [required("bash", "bash"), "-euc", command], cwd=self.folder, env=self._environment,
            check=True, timeout=INSTALL_SECONDS,
        )  # fmt: skip

    def _inside(self, command: str) -> list[str]:
        return [*self._enter, f"cd {shlex.quote(str(self.folder))}\n{command}"]

    def run(self, command: str) -> str:
        """Run a command to its end, and return what it prints, also on standard error."""
        done = subprocess.run(
            self._inside(command), env=self._environment, check=True, timeout=PATIENCE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return done.stdout

    def start(self, command: str) -> None:
        """Start a program that runs until the host ends."""
        self._started.append(
            subprocess.Popen(
                self._inside(command), env=self._environment, text=True, stdout=subprocess.DEVNULL
            )
        )

    def await_port(self, port: str) -> None:
        def answers() -> bool:
            assert all(process.poll() is None for process in self._started), "a program ended"
            return bool(self.run(f"curl -s http://127.0.0.1:{port}/ || true"))

        until(answers, f"port {port} answers")

    def join(self) -> None:
        """Wait until all programs have ended."""
        for process in self._started:
            process.wait(PATIENCE)


@contextmanager
def host(folder: Path, environment: dict[str, str]) -> Iterator[Host]:
    """
    A host that ends with the block; `environment` is added to that of its programs.

    The test is skipped, or fails in CI, where namespaces are not allowed.
    """
    users = () if ROOT_USER else ("--user", "--map-root-user")
    enter = [required("unshare", "util-linux"), *users, "--net", "--pid", "--fork", "--mount-proc"]
    # The first process ends when its input does, even if that of the tests was killed.
    first = f"{required('ip', 'iproute2')} link set lo up && echo up && exec cat"
    bin_folder = _make_venv(folder / ".venv")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("POOLSCOPE_", "PYTHON")) and name != "VIRTUAL_ENV"
    }
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    with subprocess.Popen(
        [*enter, "sh", "-c", first], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as unshare:
        assert unshare.stdin is not None
        assert unshare.stdout is not None
        if unshare.stdout.readline() != "up\n":
            missing("namespaces of users and networks are not allowed here")
        child = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split()[0]
        made = Host(folder, int(child), {**inherited, "PATH": path, **environment})
        try:
            yield made
        finally:
            unshare.stdin.close()
            made.join()


def _make_venv(folder: Path) -> Path:
    """Make a venv whose `pip` is that of the tests, which saves the time to install one."""
    venv.create(folder, symlinks=True)
    pip = folder / "bin" / "pip"
    python = folder / "bin" / "python"
    pip.write_text(f'#!/bin/sh\nexec {sys.executable} -m pip --python {python} "$@"\n')
    pip.chmod(0o755)
    return pip.parent
