"""Grafana's own types of a dashboard, as far as they say which JSON is one."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

from mixin.dashboards.gates.walking import Json, outer_panels, targets

FILE: Final = Path(__file__).with_name("grafana-schema.json")
"""Made by scripts/grafana_schema.sh."""

TEXT: Final = {"type": "string"}
BOOLEAN: Final = {"type": "boolean"}

# What Grafana reads and writes, though its types do not say so.
UNDECLARED: Final = {
    "AnnotationQuery": {
        "expr": TEXT,
        "step": TEXT,
        "tagKeys": TEXT,
        "textFormat": TEXT,
        "titleFormat": TEXT,
        "useValueForTime": BOOLEAN,
    },
    "VariableModel": {
        "auto": BOOLEAN,
        "auto_count": {"type": "integer"},
        "auto_min": TEXT,
        "definition": TEXT,
    },
}

# Of queries its types say nothing; this is what its Prometheus data source reads.
TARGET: Final = {
    "type": "object",
    "required": ["refId", "expr"],
    "additionalProperties": False,
    "properties": {
        "datasource": {"$ref": "#/definitions/DataSourceRef"},
        "editorMode": {"enum": ["builder", "code"]},
        "exemplar": BOOLEAN,
        "expr": TEXT,
        "format": {"enum": ["heatmap", "table", "time_series"]},
        "hide": BOOLEAN,
        "instant": BOOLEAN,
        "interval": TEXT,
        "intervalFactor": {"type": "integer"},
        "legendFormat": TEXT,
        "range": BOOLEAN,
        "refId": TEXT,
    },
}

# A panel without options of its own for fields.
NOTHING: Final = {"additionalProperties": False}


@functools.cache
def definitions() -> Json:
    """Return all definitions, by name; treat them as constant."""
    found: Json = json.loads(FILE.read_text())["definitions"]
    for definition, properties in UNDECLARED.items():
        found[definition]["properties"] |= properties
    # Panels are looked at one by one, with the options of their type.
    found["Dashboard"]["properties"]["panels"] = {"items": {"type": "object"}, "type": "array"}
    found["RowPanel"]["properties"]["panels"] = found["Dashboard"]["properties"]["panels"]
    return found | {"Target": TARGET, "Nothing": NOTHING}


def _errors(definition: Json, value: object, path: str, *, lenient: bool = False) -> Iterator[str]:
    """
    Yield what is wrong with a value, of several alternatives with the one that fits best.

    lenient: what is missing is no error, as Grafana has defaults for it.
    """
    validator = Draft7Validator(definition | {"definitions": definitions()})
    for error in validator.iter_errors(value):
        narrow: Any = best_match([error])
        if not (lenient and narrow.validator == "required"):
            yield f"{path}{narrow.json_path.removeprefix('$')}: {narrow.message}"


def _named(definition: str) -> Json:
    return {"$ref": f"#/definitions/{definition}"}


def _panel(panel: Json, path: str) -> Iterator[str]:
    kind = panel.get("type")
    if kind == "row":
        yield from _errors(_named("RowPanel"), panel, path)
        for index, inner in enumerate(panel.get("panels", [])):
            yield from _panel(inner, f"{path}.panels[{index}]")
        return
    yield from _errors(_named("Panel"), panel, path)
    if f"{kind}.Options" not in definitions():
        yield f"{path}.type: {kind!r} is not in {FILE.name}"
        return
    options, at = panel.get("options", {}), f"{path}.options"
    yield from _errors(_named(f"{kind}.Options"), options, at, lenient=True)
    own = f"{kind}.FieldConfig" if f"{kind}.FieldConfig" in definitions() else "Nothing"
    config = panel.get("fieldConfig", {})
    custom, at = config.get("defaults", {}).get("custom", {}), f"{path}.fieldConfig.defaults.custom"
    yield from _errors(_named(own), custom, at, lenient=True)
    for index, override in enumerate(config.get("overrides", [])):
        for number, item in enumerate(override.get("properties", [])):
            at = f"{path}.fieldConfig.overrides[{index}].properties[{number}]"
            yield from _override(own, item, at)
    for index, target in enumerate(targets(panel)):
        yield from _errors(_named("Target"), target, f"{path}.targets[{index}]")


def _override(own: str, item: Json, path: str) -> Iterator[str]:
    """An override names an option of all fields, or as custom.x one of the panel's type."""
    name = item.get("id", "")
    owner = own if name.startswith("custom.") else "FieldConfig"
    option, *inside = name.removeprefix("custom.").split(".")
    known = definitions()[owner].get("properties", {})
    if option not in known or name == "custom":
        yield f"{path}.id: {name!r} is not an option of fields"
    elif not inside and item.get("value") is not None:
        yield from _errors(known[option], item["value"], f"{path}.value", lenient=True)


def errors(dashboard: Json) -> list[str]:
    """Return one line for everything that Grafana's types do not allow: where, and what."""
    found = [*_errors(_named("Dashboard"), dashboard, "$")]
    for index, panel in enumerate(outer_panels(dashboard)):
        found += _panel(panel, f"$.panels[{index}]")
    return found
