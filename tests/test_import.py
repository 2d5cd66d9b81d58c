"""`import poolscope` imports no pool library, and has no side effect."""

from __future__ import annotations

import subprocess
import sys

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
