"""Whose code a module is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from poolscope.callsites import origins
from poolscope.callsites.origins import (
    APPLICATION,
    INSTALLED,
    SKIPPED,
    UNNAMED,
    WRAPPER,
    rank_of,
    split,
)

PYTHON = Path(os.__file__).parent
PACKAGES = PYTHON / "site-packages"
OURS = Path(origins.__file__).parent.parent


@pytest.mark.parametrize(
    ("module", "path", "rank"),
    [
        ("orders.service", "/srv/shop/orders/service.py", APPLICATION),
        ("__main__", "<stdin>", APPLICATION),
        ("queue", "/srv/shop/queue.py", APPLICATION),
        ("databases", "/srv/shop/databases.py", APPLICATION),
        ("poolscope.demo.service", str(OURS / "demo" / "service.py"), APPLICATION),
        ("poolscope.callsites.owners", str(OURS / "callsites" / "owners.py"), SKIPPED),
        ("contextlib", str(PYTHON / "contextlib.py"), SKIPPED),
        ("runpy", "<frozen runpy>", SKIPPED),
        ("sqlalchemy.pool.base", str(PACKAGES / "sqlalchemy" / "pool" / "base.py"), SKIPPED),
        ("asyncpg.pool", "/usr/lib/python3/dist-packages/asyncpg/pool.py", SKIPPED),
        ("asyncpg.pool", "/var/task/asyncpg/pool.py", SKIPPED),
        ("starlette.routing", str(PACKAGES / "starlette" / "routing.py"), WRAPPER),
        ("shoplib.pools", str(PACKAGES / "shoplib" / "pools.py"), INSTALLED),
    ],
)
def test_a_module_belongs_to_the_application_or_to_a_library(
    module: str, path: str, rank: int
) -> None:
    assert rank == rank_of(module, path)


def test_a_command_is_no_application() -> None:
    assert INSTALLED == rank_of("uvicorn", str(Path(sys.executable).parent / "uvicorn"), True)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("shop", (APPLICATION, APPLICATION, UNNAMED, INSTALLED)),
        ("shop.web", (APPLICATION, UNNAMED, UNNAMED, INSTALLED)),
        ("shoplib, jobs", (UNNAMED, UNNAMED, APPLICATION, APPLICATION)),
        (" ,", (APPLICATION, APPLICATION, APPLICATION, INSTALLED)),
    ],
)
def test_a_variable_names_the_packages_of_the_application(
    monkeypatch: pytest.MonkeyPatch, named: str, expected: tuple[int, ...]
) -> None:
    monkeypatch.setenv("POOLSCOPE_APPLICATION", named)
    assert expected == (
        rank_of("shop.web.views", "/srv/shop/web/views.py"),
        rank_of("shop.jobs", "/srv/shop/jobs.py"),
        rank_of("jobs", "/srv/jobs.py"),
        rank_of("shoplib.pools", str(PACKAGES / "shoplib" / "pools.py")),
    )


@pytest.mark.parametrize(
    ("path", "module", "expected"),
    [
        ("/srv/shop/orders/service.py", "shop.orders.service", ("/srv", "shop/orders/service.py")),
        ("/srv/shop/orders/service.py", "service", ("/srv/shop/orders", "service.py")),
        ("/srv/shop/orders/__init__.py", "shop.orders", ("/srv", "shop/orders/__init__.py")),
        ("/srv/shop/__main__.py", "shop.__main__", ("/srv", "shop/__main__.py")),
        ("/srv/notebook.py", "__main__", ("/srv", "notebook.py")),
        ("shop/cart.py", "shop.cart", ("", "shop/cart.py")),
        ("<stdin>", "__main__", ("", "<stdin>")),
        ("", "__main__", ("", "<unknown>")),
    ],
)
def test_a_path_is_relative_to_where_its_package_is_imported_from(
    path: str, module: str, expected: tuple[str, str]
) -> None:
    assert expected == split(path, module)
