"""Hooks of MkDocs, which mkdocs.yml names."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from scripts.docs.pages import for_site, project_pages

WIDE: Final = ("index.md",)
"""Pages without a table of contents and navigation at their sides."""

FORWARDED: Final = ("findings", "runbooks")
"""
Folders to whose pages alerts and dashboards link by the names of the files, as NAME.md.

The site has its pages elsewhere, so such a link is forwarded.
"""

FORWARD: Final = """\
<!DOCTYPE html>
<meta charset="utf-8">
<title>{title}</title>
<meta http-equiv="refresh" content="0; url=../{name}/">
<link rel="canonical" href="../{name}/">
<a href="../{name}/">{title}</a>
"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the pages of a folder in the navigation where it has `FOLDER/*`."""
    config.nav = _expanded(config.nav, Path(config.docs_dir))
    return config


def _expanded(entry: Any, docs: Path) -> Any:
    if isinstance(entry, dict):
        return {title: _expanded(inside, docs) for title, inside in entry.items()}
    if not isinstance(entry, list):
        return entry
    entries: list[Any] = []
    for each in entry:
        if isinstance(each, str) and each.endswith("/*"):
            pages = sorted(docs.glob(f"{each}.md"))
            entries += [str(page.relative_to(docs)) for page in pages if page.stem != "README"]
        else:
            entries.append(_expanded(each, docs))
    return entries


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what the site has besides docs/."""
    docs = [
        (PurePosixPath("docs", file.src_uri), file.content_string)
        for file in files.documentation_pages()
    ]
    for place, page in project_pages(iter(docs)).items():
        if isinstance(page, str):
            files.append(File.generated(config, str(place), content=page))
        else:
            files.append(File.generated(config, str(place), abs_src_path=str(page)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Change links and tabs of a page of docs/."""
    if page.file.src_uri in WIDE:
        page.meta["hide"] = ["navigation", "toc"]
    if page.file.generated_by is not None:
        return markdown
    return for_site(markdown, PurePosixPath("docs", page.file.src_uri))


def on_post_build(config: MkDocsConfig) -> None:
    """Forward the names of files."""
    for folder in FORWARDED:
        for source in Path(config.docs_dir, folder).glob("*.md"):
            if source.stem == "README":
                continue
            at = Path(config.site_dir, folder, source.name)
            at.mkdir()
            (at / "index.html").write_text(FORWARD.format(name=source.stem, title=source.stem))
