"""The versions that are supported: `make matrix` tests all, CI the oldest and the newest."""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True

# One version of each minor release, from the oldest that is supported to the newest; the last
# ones are those that the constraints name. What stands at the same place is tested together.
VERSIONS = {
    "oldest": {
        "sqlalchemy": "2.0.0",
        "asyncpg": "0.29.0",
        "aiohttp": "3.9.0",
        "prometheus-client": "0.20.0",
    },
    "asyncpg-0.30": {"sqlalchemy": "2.0.58", "asyncpg": "0.30.0", "aiohttp": "3.10.11"},
    "asyncpg-0.31": {"sqlalchemy": "2.1.0", "asyncpg": "0.31.0", "aiohttp": "3.11.18"},
    "aiohttp-3.12": {"aiohttp": "3.12.15", "prometheus-client": "0.22.1"},
    "aiohttp-3.13": {"aiohttp": "3.13.5", "prometheus-client": "0.24.1"},
    "newest": {},
}


# What no version of these libraries changes is tested with the newest alone.
NEWEST_ONLY = (
    "tests/mixin",
    "tests/test_compose_servers.py",
    "tests/test_compose_services.py",
    "tests/test_typing.py",
    "tests/integration/test_alerts_end_to_end.py",
    "tests/integration/test_drawn_dashboards.py",
    "tests/integration/test_live_dashboards.py",
    "tests/integration/test_live_page.py",
)


@nox.session
@nox.parametrize("versions", [nox.param(name, id=name) for name in VERSIONS])
def tests(session: nox.Session, versions: str) -> None:
    """Run the tests with one set of versions."""
    chosen = VERSIONS[versions]
    constraints = Path(session.create_tmp()) / "constraints.txt"
    lines = Path("constraints.txt").read_text().lower().replace("_", "-").splitlines()
    # Older aiohttp needs an older multidict, and with it yarl.
    free = {*chosen, *(("multidict", "yarl") if "aiohttp" in chosen else ())}
    kept = [line for line in lines if line.partition("==")[0] not in free]
    constraints.write_text("\n".join([*kept, *(f"{n}=={v}" for n, v in chosen.items())]) + "\n")
    quiet = ("--quiet", "--disable-pip-version-check", "-c", str(constraints))
    session.install(*quiet, "pip", "hatchling", "editables")
    session.install(*quiet, "--no-build-isolation", "--editable", ".", "--group", "test")
    # Libraries warn of what newer Pythons deprecate; only the newest ones can do without.
    ignored = ("-W", "ignore::DeprecationWarning") if chosen else ()
    left_out = [f"--ignore={path}" for path in NEWEST_ONLY] if chosen else []
    # As in the Makefile: several processes, each of which runs whole files.
    parallel = ("-n", os.environ.get("WORKERS", "2"), "--dist", "loadfile")
    session.run("python", "-m", "pytest", *parallel, *ignored, *left_out, *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def pythons(session: nox.Session) -> None:
    """Run the tests that it is given with each Python that is found; `make pythons` gives them."""
    quiet = ("--quiet", "--disable-pip-version-check", "-c", "constraints.txt")
    session.install(*quiet, "pip", "hatchling", "editables")
    session.install(*quiet, "--no-build-isolation", "--editable", ".", "--group", "test")
    parallel = ("-n", os.environ.get("WORKERS", "2"), "--dist", "loadfile")
    session.run("python", "-m", "pytest", *parallel, *session.posargs)
