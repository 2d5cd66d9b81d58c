"""Installs Grafana's components, and builds the page that uses them, in a cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 240.0
"""Seconds after which npm is killed."""


class MissingToolError(Exception):
    """A tool is not installed, or cannot be; the message says which."""


def _program(name: str) -> str:
    if (path := shutil.which(name)) is None:
        raise MissingToolError(f"{name} is missing; on Debian: apt-get install nodejs npm")
    return path


def _cached(name: str, sources: Iterable[Path], make: Callable[[Path], None]) -> Path:
    """Return the folder that `make` fills from these sources; call it if there is none yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "poolscope-drawing"
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.read_bytes())
    folder = cache / f"{name}-{digest.hexdigest()[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        # Other processes that need the folder wait until it is complete.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="new-") as temporary:
                new = Path(temporary) / name
                new.mkdir()
                make(new)
                new.rename(folder)  # at the end, so that no folder is incomplete
    return folder


def packages() -> Path:
    """Return the folder whose `node_modules` has the packages. Installing them takes a minute."""
    node, npm = _program("node"), _program("npm")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) < 18:
        raise MissingToolError(f"Node 18 or later is needed, not {version.strip()}")

    def install(folder: Path) -> None:
        shutil.copy(HERE / "package.json", folder)
        quiet = ("--no-audit", "--no-fund", "--loglevel=error")
        try:
            subprocess.run(
                [npm, "install", "--ignore-scripts", "--no-package-lock", *quiet],
                cwd=folder,
                check=True,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        except subprocess.CalledProcessError as error:
            raise MissingToolError(f"npm install failed:\n{error.stderr}") from error
        except subprocess.TimeoutExpired as error:
            raise MissingToolError(f"npm install took more than {PATIENCE:.0f} s") from error

    return _cached("packages", [HERE / "package.json"], install)


def page(packages: Path) -> Path:
    """Return the folder of the page, which is built from page/ and the packages."""

    def build(folder: Path) -> None:
        subprocess.run([_program("node"), HERE / "build.mjs", packages, folder], check=True)

    sources = sorted((HERE / "page").iterdir())
    return _cached("page", [HERE / "package.json", HERE / "build.mjs", *sources], build)
