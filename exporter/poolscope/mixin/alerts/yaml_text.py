"""YAML that is easy to read: keys keep their order, and long texts are blocks of lines."""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Never emit YAML anchors and aliases."""
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


def text_of(document: Any, *comments: str) -> str:
    """Return the YAML of a document, below comments."""
    body = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True, indent=2
    )
    return "".join(f"# {comment}\n" for comment in comments) + body
