"""Variables in texts, interpolated as Grafana and its Prometheus data source do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

Value = str | Sequence[str]
"""The value of a variable, or several values of a variable that allows them."""

# $name, ${name}, ${name:format}, [[name]], [[name:format]]; $1 belongs to label_replace.
REFERENCE: Final = re.compile(
    r"\$(?P<plain>[A-Za-z_]\w*)"
    r"|\$\{(?P<braces>\w+)(?:\.[^:}]+)?(?::(?P<format>[^}]+))?\}"
    r"|\[\[(?P<brackets>\w+)(?::(?P<old_format>\w+))?\]\]"
)

ESCAPED: Final = re.compile(r"[\\$^*{}\[\]'+?.()|]")


def _several(value: Value) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _escape(text: str) -> str:
    """Escape text for a regular expression in a PromQL string."""
    return ESCAPED.sub(lambda found: rf"\\{found[0]}" if found[0] != "\\" else r"\\\\", text)


def _either(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"({'|'.join(texts)})"


def _default(value: Value) -> str:
    """Interpolate a single value unescaped, as Grafana does; also a custom value for All."""
    return value if isinstance(value, str) else _either([_escape(text) for text in value])


FORMATS: Final[Mapping[str | None, Callable[[Value], str]]] = {
    None: _default,
    "csv": lambda value: ",".join(_several(value)),
    "pipe": lambda value: "|".join(_several(value)),
    "raw": lambda value: ",".join(_several(value)),
    "regex": lambda value: value if isinstance(value, str) else _either([*map(re.escape, value)]),
    "text": lambda value: " + ".join(_several(value)),
}


def _name(found: re.Match[str]) -> str:
    return found["plain"] or found["braces"] or found["brackets"]


def uses(text: str) -> Iterator[str]:
    """Yield the names of the variables in a text."""
    return (_name(found) for found in REFERENCE.finditer(text))


def interpolate(text: str, values: Mapping[str, Value]) -> str:
    """Replace variables by their values; those without a value stay, as in Grafana."""

    def value(found: re.Match[str]) -> str:
        if _name(found) not in values:
            return found[0]
        return FORMATS[found["format"] or found["old_format"]](values[_name(found)])

    return REFERENCE.sub(value, text)
