"""
An extension of Griffe that shows the docstrings of poolscope as Markdown.

They name arguments and fields as `name: what it is`, with the next lines indented; on the site that
is a list.
"""

from __future__ import annotations

import re
from typing import Any, Final

import griffe

_TERM: Final = re.compile(r"^([a-z_]+(?:, [a-z_]+)*): (.*)$")


class Docstrings(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """Return a docstring with its terms as a list."""
    lines: list[str] = []
    in_term = False
    for line in text.splitlines():
        term = _TERM.match(line)
        if term:
            if not in_term and lines and lines[-1]:
                lines.append("")
            lines.append(f"- **{term[1]}**: {term[2]}")
            in_term = True
        else:
            if in_term and line and not line.startswith(" "):
                lines.append("")
            in_term = in_term and line.startswith(" ")
            lines.append(line)
    return "\n".join(lines)
