"""The tests that the libraries bring in their source distributions, and how to run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Final

from scripts.peers import servers
from scripts.peers.compare import Run, read_run

ROOT: Final = Path(__file__).parent.parent.parent
CACHE: Final = ROOT / ".peers"

# SQLAlchemy adds the database, its driver and its version to the names of some classes.
DATABASE: Final = re.compile(r"_sqlite\+pysqlite_[\d_]*\d")

TIMEOUT_OF_A_TEST: Final = 60.0
TIMEOUT_OF_A_RUN: Final = 900.0


@dataclass(frozen=True)
class Suite:
    """
    Tests of a library.

    package: its name on PyPI.
    unpacked: what is taken from the source distribution. Never the package: its compiled modules
        are missing there, and what is tested is what is installed.
    tests: the files that are run.
    options: of pytest.
    """

    name: str
    package: str
    unpacked: tuple[str, ...]
    tests: tuple[str, ...]
    options: tuple[str, ...] = ()


SUITES: Final = (
    Suite(
        "sqlalchemy",
        "SQLAlchemy",
        # Its conftest.py executes a file of the plugin by its path.
        ("test/", "lib/sqlalchemy/testing/plugin/", "pyproject.toml", "setup.cfg"),
        ("test/engine/test_pool.py", "test/engine/test_reconnect.py"),
    ),
    Suite("asyncpg", "asyncpg", ("tests/", "pyproject.toml"), ("tests/test_pool.py",)),
    Suite(
        "aiohttp",
        "aiohttp",
        ("tests/", "pytest.ini"),
        ("tests/test_connector.py", "tests/test_client_functional.py"),
        # In place of its own options, which want coverage and many processes.
        ("-o", "addopts=", "-m", "not dev_mode and not autobahn and not internal"),
    ),
)


def unpack(suite: Suite) -> Path:
    """Return the folder of the suite for the installed version; download it if it is missing."""
    installed = version(suite.package)
    folder = CACHE / f"{suite.name}-{installed}"
    if folder.exists():
        return folder
    with tempfile.TemporaryDirectory(dir=_made(CACHE)) as name:
        downloads, unpacked = _made(Path(name) / "downloads"), _made(Path(name) / "unpacked")
        command = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
        quiet = ("--disable-pip-version-check", "--no-binary", suite.package)
        what = ("--dest", str(downloads), f"{suite.package}=={installed}")
        subprocess.run((*command, *quiet, *what), check=True)  # noqa: S603 - our own command
        (archive,) = downloads.iterdir()
        with tarfile.open(archive) as tar:
            for member in tar.getmembers():
                if member.name.partition("/")[2].startswith(suite.unpacked):
                    tar.extract(member, unpacked, filter="data")
        (inner,) = unpacked.iterdir()
        shutil.move(inner, folder)
    return folder


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """
    A folder for the temporary files of tests, in which servers of another user may write, too.

    Servers that are left in it are stopped at the end.
    """
    # The path of a socket must be short, so it is not below the cache.
    with tempfile.TemporaryDirectory(prefix="peers-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o1777)
        try:
            yield folder
        finally:
            servers.stop_servers(folder)


class How(Enum):
    """How pools are watched: not at all, by a plugin of pytest, or by `poolscope run`."""

    UNWATCHED = "unwatched"
    WATCHED = "watched"
    LAUNCHED = "launched"


PLUGINS: Final = {How.WATCHED: "scripts.peers.watch_all", How.LAUNCHED: "scripts.peers.launched"}

LAUNCHER: Final = (sys.executable, "-m", "poolscope", "run", "--name", "*=peers", "--")


def run(suite: Suite, how: How, tests: Sequence[str] = ()) -> Run:
    """
    Run the suite's tests, or those whose ids are given, and return how they ended.

    The output of pytest is kept in the cache. Raises RuntimeError if pytest itself fails.
    """
    log = _made(CACHE / "logs") / f"{suite.name}-{how.value}{'-again' if tests else ''}.log"
    plugins = ("scripts.peers.record", *([PLUGINS[how]] if how in PLUGINS else []))
    # -P and -s: the current folder and the user's own packages must not hide what is installed.
    command = [sys.executable, "-P", "-s", "-m", "pytest", "-p", "no:cacheprovider"]
    command += [option for plugin in plugins for option in ("-p", plugin)]
    command += [f"--timeout={TIMEOUT_OF_A_TEST:.0f}", *suite.options, *(tests or suite.tests)]
    if how is How.LAUNCHED:
        command = [*LAUNCHER, *command]
    with temporary_folder() as folder:
        report = folder / "report.json"
        environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("PG", "POOLSCOPE_", "PYTEST_", "PYTHON"))
            },
            "PYTHONPATH": str(ROOT),
            "PEERS_REPORT": str(report),
            "PGINSTALLATION": str(servers.installation(folder)),
            "TMPDIR": str(folder),
        }
        code = _run_in(unpack(suite), command, environment, log)
        # 0: all have passed; 1: some have not; whatever else proves nothing.
        if code not in (0, 1) or not report.exists():
            end = "\n".join(log.read_text().splitlines()[-20:])
            raise RuntimeError(f"pytest ended with {code} for {suite.name}, {how.value}:\n{end}")
        recorded = read_run(report)
    results = {DATABASE.sub("", test): result for test, result in recorded.results.items()}
    return Run(results, recorded.pools, recorded.acquires)


def _run_in(folder: Path, command: list[str], environment: dict[str, str], log: Path) -> int | None:
    """Run a command whose output goes to `log`; return its exit code, None if it took too long."""
    with log.open("w") as output:
        try:
            return subprocess.run(  # noqa: S603 - our own command
                command,
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_OF_A_RUN,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return None
