"""The JSON Schema of `/api/v1/pools`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from poolscope.exporter import api
from poolscope.fleet.folder import Folder
from poolscope.watching.watches import Watches
from support import pools_schema
from support.exporters import ExporterProcess, exporter

__all__ = ["exporter"]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(pools_schema.schema())


def test_it_has_every_number_of_a_pool() -> None:
    pool = pools_schema.schema()["$defs"]["pool"]
    numbers = api.JSON_GAUGES + api.JSON_COUNTERS
    assert set(numbers) <= set(pool["required"])
    seconds = {name for name in numbers if name.endswith("_seconds")}
    assert {name: "number" if name in seconds else "integer" for name in numbers} == {
        name: pool["properties"][name]["type"][0]
        if isinstance(pool["properties"][name]["type"], list)
        else pool["properties"][name]["type"]
        for name in numbers
    }


def test_the_exporter_serves_it_and_answers_as_it_says(
    exporter: ExporterProcess, folder: Path, sqlite: Any
) -> None:
    watches = Watches(folder=Folder(folder))
    engine, endless = sqlite(), sqlite(pool_size=0)
    watches.watch(engine, "orders", registry=None)
    watches.watch(endless, "endless", registry=None)
    held = [engine.connect() for _ in range(2)]
    status, headers, text = exporter.get("/api/v1/pools.schema.json")
    assert (200, "application/schema+json; charset=utf-8") == (status, headers["Content-Type"])
    assert pools_schema.schema() == json.loads(text)
    status, _, text = exporter.get("/api/v1/pools")
    document = json.loads(text)
    jsonschema.Draft202012Validator(pools_schema.schema()).validate(document)
    pools_schema.check(document)
    without, orders = document["pools"]
    assert (None, None) == (without["limit"], without["idle_limit"])
    assert b'"in_use": 2, ' in text
    (line,) = orders["holders_by_line"]
    (site,) = {holder["site"] for holder in orders["holders"]}
    oldest = max(holder["held_seconds"] for holder in orders["holders"])
    assert {
        "site": site, "operation": None, "count": 2, "oldest_seconds": oldest,
        "overdue": 0, "abandoned": 0,
    } == line  # fmt: skip
    for connection in held:
        connection.close()


@pytest.mark.parametrize(
    ("field", "value"), [("in_use", 3.0), ("limit", "none"), ("waiting", -1), ("more", 1)]
)
def test_what_is_wrong_is_found(field: str, value: object) -> None:
    document = {
        "version": "1", "processes": {"live": 0, "gone": 0}, "bad_segments": 0,
        "pools": [{field: value}], "servers": [],
    }  # fmt: skip
    with pytest.raises(AssertionError, match=rf"\$\.pools\[0\].*{field}|'{field}'"):
        pools_schema.check(document)
