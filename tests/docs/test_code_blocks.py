"""The Python code of the pages is Python."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import Final

import pytest
from scripts.docs.pages import ROOT

PAGES: Final = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(page: Path) -> list[str]:
    found = re.findall(
        r"^( *)```python[^\n]*\n(.*?)^\1```$", page.read_text(), re.MULTILINE | re.DOTALL
    )
    return [textwrap.dedent(code) for _, code in found]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_the_code_is_python(page: Path) -> None:
    for code in blocks(page):
        compile(code, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
