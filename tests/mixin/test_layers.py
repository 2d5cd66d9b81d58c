"""The imports of the mixin: dashboards and alerts share modules, and do not import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import poolscope.mixin

ROOT = Path(poolscope.mixin.__file__).parent
SHARED = ("metrics", "readings", "callsites")


def imported(path: Path) -> Iterator[str]:
    """Yield the names below `poolscope` that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("poolscope."):
                yield name.removeprefix("poolscope.")


@pytest.mark.parametrize(
    ("folder", "other"), [("dashboards", "mixin.alerts"), ("alerts", "mixin.dashboards")]
)
def test_dashboards_and_alerts_do_not_import_each_other(folder: str, other: str) -> None:
    names = [name for path in (ROOT / folder).rglob("*.py") for name in imported(path)]
    assert names
    assert [] == [name for name in names if name.startswith(other)]


def test_what_they_share_imports_neither() -> None:
    names = [name for path in ROOT.glob("*.py") for name in imported(path)]
    assert [] == [name for name in names if name.startswith(("mixin.alerts", "mixin.dashboards"))]


def test_the_mixin_imports_only_the_catalogue_and_what_is_below_it() -> None:
    names = {name.split(".")[0] for path in ROOT.rglob("*.py") for name in imported(path)}
    assert names <= {"mixin", *SHARED}
