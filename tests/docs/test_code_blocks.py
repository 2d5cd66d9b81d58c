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


def test_the_style_is_shown_by_code_that_exists() -> None:
    code = [path.read_text() for path in (ROOT / "exporter").rglob("*.py")]
    code += [path.read_text() for path in (ROOT / "tests").rglob("*.py")]
    text = (ROOT / "CONTRIBUTING.md").read_text()
    shown = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert shown
    assert [] == [block for block in shown if not any(block in each for each in code)]
