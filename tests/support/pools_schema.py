"""The JSON Schema of `/api/v1/pools`, which answers are checked with."""

from __future__ import annotations

import copy
import functools
import json
from importlib import resources
from typing import Any

import jsonschema


def schema() -> Any:
    """Return the schema, as the package has it."""
    path = resources.files("poolscope.exporter") / "pools.schema.json"
    return json.loads(path.read_text(encoding="utf-8"))


@functools.cache
def _strict_validator() -> Any:
    """Return a validator that allows no further field, and no whole number written as 3.0."""
    strict = copy.deepcopy(schema())
    _forbid_others(strict)
    base = jsonschema.Draft202012Validator
    types = base.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    validators: Any = jsonschema.validators  # `extend` has no types
    return validators.extend(base, type_checker=types)(strict)


def _forbid_others(part: Any) -> None:
    if isinstance(part, dict):
        if "properties" in part:
            part["additionalProperties"] = False
        for each in part.values():
            _forbid_others(each)
    elif isinstance(part, list):
        for each in part:
            _forbid_others(each)


def check(document: Any) -> None:
    """Fail if the schema does not describe the document, and all of it."""
    problems = [
        f"{error.json_path}: {error.message}" for error in _strict_validator().iter_errors(document)
    ]
    assert not problems, problems
