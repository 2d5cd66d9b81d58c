"""A subset of YAML: strings, booleans, null, lists, and mappings without duplicate keys."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml


class StrictYamlError(yaml.YAMLError):
    """The text is rejected. The message is one line, and has no value of the text in it."""


class DuplicateKeyError(StrictYamlError):
    """A mapping has the same key twice."""

    def __init__(self, key: str, line: int) -> None:
        super().__init__(f"line {line}: {printable_key(key)}: appears twice; remove one of them")


class _Loader(yaml.SafeLoader):
    """Rejects duplicate keys, and every type that is not in `_TAGS`."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise DuplicateKeyError(key.value, key.start_mark.line + 1)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


# The format has no numbers and no dates, so that 123 or 2026-01-01 is a string.
_TAGS: Final = [f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "str", "seq", "map")]
_Loader.yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in (*_TAGS, None)}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse(text: bytes) -> object:
    """
    Return the value of the one document in `text`.

    Raises StrictYamlError. PyYAML's own messages are not repeated, because they cite the text.
    """
    try:
        loader = _Loader(text.decode())
        return loader.get_single_data()
    except StrictYamlError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise StrictYamlError(f"is not valid YAML{at}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise StrictYamlError("is not UTF-8 text that YAML allows") from None
    except (LookupError, RecursionError):
        raise StrictYamlError("is not valid YAML") from None


def printable_key(key: str) -> str:
    """Return a key, or a placeholder if it may be a secret in the wrong place."""
    return key if not key or re.fullmatch(r"[\w.@-]{1,64}", key) else "(a key)"
