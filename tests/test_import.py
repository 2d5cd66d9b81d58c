"""`import poolscope` imports no pool library, and has no side effect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import poolscope

PROGRAM = """
import gc, logging, sys, threading, warnings
import prometheus_client
from prometheus_client import REGISTRY

before = (
    threading.enumerate(),
    sorted(REGISTRY._names_to_collectors),
    len(gc.callbacks),
    logging.root.handlers[:],
    logging.getLogger("poolscope").handlers[:],
    warnings.filters[:],
    sys.excepthook,
)
import poolscope

after = (
    threading.enumerate(),
    sorted(REGISTRY._names_to_collectors),
    len(gc.callbacks),
    logging.root.handlers[:],
    logging.getLogger("poolscope").handlers[:],
    warnings.filters[:],
    sys.excepthook,
)
assert before == after
imported = {name.partition(".")[0] for name in sys.modules}
print(*sorted(imported & {"sqlalchemy", "asyncpg", "aiohttp", "asyncio", "greenlet", "rich"}))
print(*sorted(name for name in poolscope.__all__ if not hasattr(poolscope, name)))
poolscope.trace_config()
print("aiohttp" in sys.modules)
"""


def test_importing_imports_no_pool_library_and_has_no_side_effect() -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert ("\n\nTrue\n", "", 0) == (result.stdout, result.stderr, result.returncode)


EVERYTHING = """
import importlib, pkgutil, types
import poolscope

public = {name: getattr(poolscope, name) for name in poolscope.__all__}
for module in pkgutil.walk_packages(poolscope.__path__, "poolscope."):
    importlib.import_module(module.name)
for name, value in public.items():
    assert getattr(poolscope, name) is value, name
    assert callable(value) and not isinstance(value, types.ModuleType), name
print(*sorted(public))
print(poolscope.snapshots(), poolscope.holders(), poolscope.findings())
"""

FIRST = """
import types
import poolscope.{module}
import poolscope
assert callable(poolscope.{name}) and not isinstance(poolscope.{name}, types.ModuleType)
"""


def run(program: str) -> str:
    """Run the program in a fresh interpreter, and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ("", 0) == (done.stderr, done.returncode)
    return done.stdout


def modules_called(name: str) -> list[str]:
    """Return all modules of poolscope that have this name, wherever they stand."""
    root = Path(poolscope.__file__).parent
    found = [*root.rglob(f"{name}.py"), *root.rglob(f"{name}/__init__.py")]
    return [
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for path in found
    ]


def test_no_module_hides_behind_a_public_name() -> None:
    """Neither before nor after all modules were imported."""
    assert f"{' '.join(sorted(poolscope.__all__))}\n[] [] []\n" == run(EVERYTHING)
    assert [] == [name for name in poolscope.__all__ if name in modules_called(name)]


@pytest.mark.parametrize("name", poolscope.__all__)
def test_a_module_that_has_a_public_name_does_not_take_it(name: str) -> None:
    for module in modules_called(name):
        run(FIRST.format(module=module, name=name))
