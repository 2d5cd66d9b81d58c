"""The supported versions: `make matrix` tests all of them, CI the oldest and the newest."""

from __future__ import annotations

import os
from pathlib import Path

import nox

nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True

# One version of each supported minor release of each library. A row is tested together; libraries
# that it does not name have the version in constraints.txt, which is the newest.
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


# Tests that do not depend on the versions of these libraries run with the newest only.
NEWEST_ONLY = (
    "tests/behaviour/test_what_people_ask.py",
    "tests/docs",
    "tests/mixin",
    "tests/sizing",
    "tests/terminal",
    "tests/test_benchmarks.py",
    "tests/test_compose_servers.py",
    "tests/test_compose_services.py",
    "tests/test_mutations.py",
    "tests/test_typing.py",
    "tests/integration/test_alerts_end_to_end.py",
    "tests/integration/test_drawn_dashboards.py",
    "tests/integration/test_live_dashboards.py",
    "tests/integration/test_live_page.py",
    "tests/integration/test_live_page_oddities.py",
)


@nox.session
@nox.parametrize("versions", [nox.param(name, id=name) for name in VERSIONS])
def tests(session: nox.Session, versions: str) -> None:
    """Run the tests with one set of versions."""
    pinned = VERSIONS[versions]
    # Not in a folder that nox makes for it: tests would write there, too, where paths are long.
    constraints = Path(session.virtualenv.location) / "constraints.txt"
    lines = Path("constraints.txt").read_text().lower().replace("_", "-").splitlines()
    # An older aiohttp needs an older multidict and yarl.
    unconstrained = {*pinned, *(("multidict", "yarl") if "aiohttp" in pinned else ())}
    kept = [line for line in lines if line.partition("==")[0] not in unconstrained]
    constraints.write_text("\n".join([*kept, *(f"{n}=={v}" for n, v in pinned.items())]) + "\n")
    quiet = ("--quiet", "--disable-pip-version-check", "-c", str(constraints))
    session.install(*quiet, "pip", "hatchling", "editables", "setuptools")
    session.install(*quiet, "--no-build-isolation", "--editable", ".", "--group", "test")
    session.install(*quiet, "--group", "servers", success_codes=[0, 1])
    # Older libraries use features that newer Pythons deprecate.
    warnings = ("-W", "ignore::DeprecationWarning") if pinned else ()
    ignored_paths = [f"--ignore={path}" for path in NEWEST_ONLY] if pinned else []
    # As in the Makefile: several processes, each of which runs whole files.
    parallel = ("-n", os.environ.get("WORKERS", "2"), "--dist", "loadfile")
    session.run("python", "-m", "pytest", *parallel, *warnings, *ignored_paths, *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def pythons(session: nox.Session) -> None:
    """Run the given tests with each Python that is installed; `make pythons` names the tests."""
    quiet = ("--quiet", "--disable-pip-version-check", "-c", "constraints.txt")
    session.install(*quiet, "pip", "hatchling", "editables", "setuptools")
    session.install(*quiet, "--no-build-isolation", "--editable", ".", "--group", "test")
    parallel = ("-n", os.environ.get("WORKERS", "2"), "--dist", "loadfile")
    session.run("python", "-m", "pytest", *parallel, *session.posargs)
