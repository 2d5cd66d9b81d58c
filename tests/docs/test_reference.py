"""The reference pages have all that there is, and nothing else."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from typing import Final

import pytest
from scripts import commands_reference
from scripts.docs.pages import ROOT

import poolscope
from poolscope.exporter import api
from poolscope.exporter.history import History
from poolscope.fleet.fleet import FleetView
from poolscope.metrics.exporter_families import Scrape
from poolscope.readings.database_servers import (
    BouncerPool,
    BouncerReading,
    ServerConnections,
    ServerReading,
)
from poolscope.readings.findings import Finding
from poolscope.readings.holders import Hold
from poolscope.readings.reading import EMPTY_READING
from poolscope.readings.report import Info, Report

REFERENCE: Final = ROOT / "docs" / "reference"


def fields(title: str) -> set[str]:
    """Return the fields that a section of the page of the JSON has."""
    text = (REFERENCE / "json.md").read_text()
    section = text[text.index(title) :].split("\n## ")[0]
    first = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for cell in first for name in re.findall(r"`(\w+)`", cell)}


def names(cls: type) -> set[str]:
    return {field.name for field in dataclasses.fields(cls)}


def test_the_commands_are_those_of_the_parsers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "COLUMNS", "80")
    page = (REFERENCE / "commands.md").read_text()
    assert commands_reference.page() == page, "run `make generate`"


def test_each_variable_of_the_environment_is_named() -> None:
    code = "".join(path.read_text() for path in (ROOT / "exporter").rglob("*.py"))
    read = set(re.findall(r"\"(POOLSCOPE_[A-Z_]+)\"", code))
    page = (REFERENCE / "environment.md").read_text()
    assert "POOLSCOPE_DIR" in read
    assert read == set(re.findall(r"^\| `(POOLSCOPE_\w+)` \|", page, re.MULTILINE))


def test_each_name_of_the_package_is_in_the_api() -> None:
    page = (REFERENCE / "api.md").read_text()
    assert [] == [name for name in poolscope.__all__ if not re.search(rf"\b{name}\b", page)]
    for path in re.findall(r"^::: (\S+)$", page, re.MULTILINE):
        assert resolves(path), path


def resolves(path: str) -> bool:
    """Whether it names an object of a module."""
    module, found = path, None
    while module:
        if module in sys.modules or _imports(module):
            found = sys.modules[module]
            break
        module = module.rpartition(".")[0]
    for name in path[len(module) :].strip(".").split("."):
        found = getattr(found, name, None) if name else found
    return found is not None


def _imports(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return False
    return True


def inside(field: str) -> set[str]:
    """Return the names that a row says its objects have."""
    (row,) = re.findall(rf"^\| `{field}` \|.*$", pool_section(), re.MULTILINE)
    return set(re.findall(r"`(\w+)`", row)) - {field}


def pool_section() -> str:
    text = (REFERENCE / "json.md").read_text()
    return text[text.index("## A pool") :].split("\n## ")[0]


def test_the_json_has_the_fields_of_a_pool() -> None:
    report = Report("orders", "asyncpg", EMPTY_READING, 1, (Info("Pool", "asyncpg", "0.32"),))
    view = FleetView((report,), (), {}, 0, 0)
    (pool,) = api.document(Scrape(view, 0.0, "1.2.3"), History())["pools"]
    assert pool.keys() == fields("## A pool")
    assert pool["info"][0].keys() == inside("info")
    assert pool["history"].keys() == inside("history")
    assert names(Finding) - {"pool", "kind"} == inside("findings")
    assert {"pid", "in_use", "instances"} == inside("processes")


def test_the_json_has_the_fields_of_a_holder() -> None:
    assert names(Hold) - {"pool", "kind"} == fields("## A holder")


def test_the_json_has_the_fields_of_a_server() -> None:
    known = names(ServerReading) - {"applications"} | names(BouncerReading)
    assert {"kind", "promised"} | known == fields("## A server")
    text = (REFERENCE / "json.md").read_text()
    inside = names(ServerConnections) | names(BouncerPool)
    assert [] == [name for name in inside if f"`{name}`" not in text]


def test_the_json_has_these_fields_itself() -> None:
    view = FleetView((), (), {}, 0, 0)
    document = api.document(Scrape(view, 0.0, "1.2.3"), History())
    assert document.keys() == fields("| field |")
