"""
The pages of the repository as pages of the site.

In the repository every link is a path, and tabs are headings. On the site, links that leave docs/
lead to copies of what they name, and the sections between `<!-- tabs -->` and `<!-- /tabs -->` are
tabs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

PROJECT: Final = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "examples")
"""What the site has besides docs/, whether a page links to it or not."""

LANGUAGES: Final = {".py": "python", ".yml": "yaml", ".yaml": "yaml", ".sh": "shell"}
"""Files that are shown as pages, by suffix; all others are copied as they are."""

_FENCE: Final = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_TABS: Final = re.compile(r"^<!-- tabs -->\n(.*?)^<!-- /tabs -->\n", re.MULTILINE | re.DOTALL)
_TAB: Final = re.compile(r"^### (.+)\n", re.MULTILINE)


def outside_code(text: str, change: Callable[[str], str], code: bool = True) -> str:
    """
    Return the text with everything changed that is in no fenced block of code.

    code: whether those blocks stay.
    """
    parts, start = [], 0
    for block in _FENCE.finditer(text):
        parts += [change(text[start : block.start()]), block[0] if code else ""]
        start = block.end()
    return "".join([*parts, change(text[start:])])


def links(text: str) -> list[str]:
    """Return the relative links of a page, with their anchors."""
    prose = outside_code(text, str, code=False)
    return [match[0] for match in _LINK.finditer(prose) if is_relative(match[0])]


def is_relative(link: str) -> bool:
    return not re.match(r"[a-z]+:|/", link)


def target_of(link: str, page: PurePosixPath) -> PurePosixPath:
    """Return the path in the repository that a link of a page leads to, without its anchor."""
    path = link.partition("#")[0]
    if not path:
        return page
    return PurePosixPath(os.path.normpath(page.parent / path))


def place_of(target: PurePosixPath) -> PurePosixPath:
    """Return where the site has a file or folder of the repository, relative to its docs."""
    if target.is_relative_to("docs"):
        return target.relative_to("docs")
    if target == PurePosixPath("README.md"):
        return PurePosixPath("index.md")
    if target.name == "README.md":
        return PurePosixPath("project", target)
    if target.suffix == ".md":
        return PurePosixPath("project", target.parent, target.name.lower())
    if (ROOT / target).is_dir():
        return PurePosixPath("project", target, "README.md")
    if target.suffix in LANGUAGES:
        return PurePosixPath("project", f"{target}.md")
    return PurePosixPath("project", target)


def for_site(text: str, page: PurePosixPath) -> str:
    """Return a page, named by its path in the repository, as the site has it."""
    place = place_of(page)

    def change(match: re.Match[str]) -> str:
        link = match[0]
        if not is_relative(link) or link.startswith("#"):
            return link
        target = target_of(link, page)
        if page.is_relative_to("docs") and target.is_relative_to("docs"):
            return link
        path = os.path.relpath(place_of(target), place.parent)
        return path + "".join(link.partition("#")[1:])

    return with_tabs(outside_code(text, lambda part: _LINK.sub(change, part)))


def with_tabs(text: str) -> str:
    """Return the page with tabs, each of which is a section of the third level."""

    def tabs(match: re.Match[str]) -> str:
        before, *sections = _TAB.split(match[1])
        titles, bodies = sections[::2], sections[1::2]
        return before + "".join(map(_tab, titles, bodies))

    return _TABS.sub(tabs, text)


def _tab(title: str, body: str) -> str:
    lines = [f"    {line}" if line else "" for line in body.strip("\n").split("\n")]
    return f'=== "{title}"\n\n' + "\n".join(lines) + "\n\n"


def project_pages(docs: Iterator[tuple[PurePosixPath, str]]) -> dict[PurePosixPath, str | Path]:
    """
    Return what the site has besides the pages of docs/: what those and `PROJECT` lead to.

    The keys are places in the site; the values are the text of a page, or a file to be copied.
    """
    found: dict[PurePosixPath, str | Path] = {}
    left = [PurePosixPath(name) for name in PROJECT]
    left += [target_of(link, page) for page, text in docs for link in links(text)]
    while left:
        target = left.pop()
        place = place_of(target)
        if place in found or target.is_relative_to("docs") or place == PurePosixPath("index.md"):
            continue
        page, further = _made(target)
        found[place] = page
        left += further
    return found


def _made(target: PurePosixPath) -> tuple[str | Path, list[PurePosixPath]]:
    """Return a page of the site, or the file that is copied, and what else it leads to."""
    if (ROOT / target / "README.md").is_file():
        target /= "README.md"
    path = ROOT / target
    if target.suffix == ".md":
        text = path.read_text()
        return for_site(text, target), [target_of(link, target) for link in links(text)]
    if path.is_dir():
        files = sorted(each.name for each in path.iterdir() if each.is_file())
        inside = [target / name for name in files]
        folder = place_of(target).parent
        lines = [f"- [{each.name}]({place_of(each).relative_to(folder)})" for each in inside]
        return f"# {target}\n\n" + "\n".join(lines) + "\n", inside
    language = LANGUAGES.get(target.suffix)
    if language is None:
        return path, []
    return f'# {target.name}\n\n```{language} title="{target}"\n{path.read_text()}```\n', []
