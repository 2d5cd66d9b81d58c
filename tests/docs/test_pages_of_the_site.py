"""What `make docs` changes in the pages of the repository, and in the docstrings."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from scripts.docs.docstrings import as_markdown
from scripts.docs.pages import ROOT, for_site, place_of, project_pages

TABS = """\
Before.

<!-- tabs -->

### One

```python title="app.py"
def f():

    return 1
```

### Two, three

Text.

<!-- /tabs -->

After.
"""


def test_sections_are_tabs() -> None:
    expected = """\
Before.


=== "One"

    ```python title="app.py"
    def f():

        return 1
    ```

=== "Two, three"

    Text.


After.
"""
    assert expected == for_site(TABS, PurePosixPath("docs/quickstart.md"))


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("docs/pools.md", "exporter.md#the-folder", "exporter.md#the-folder"),
        ("docs/findings/README.md", "../pools.md", "../pools.md"),
        ("docs/pools.md", "#asyncpg", "#asyncpg"),
        ("docs/pools.md", "https://example.org/a.md", "https://example.org/a.md"),
        ("docs/pools.md", "../CHANGELOG.md#added", "project/changelog.md#added"),
        ("docs/runbooks/README.md", "../../alerts/rules.yml", "../project/alerts/rules.yml.md"),
        ("docs/embedding.md", "../examples/", "project/examples/README.md"),
        ("CONTRIBUTING.md", "docs/pools.md", "../pools.md"),
        ("CONTRIBUTING.md", "README.md", "../index.md"),
        ("CHANGELOG.md", "SECURITY.md", "security.md"),
        ("tests/drawing/README.md", "page/app.jsx", "page/app.jsx"),
    ],
)
def test_links_lead_to_the_place_on_the_site(page: str, link: str, expected: str) -> None:
    assert f"[a]({expected})" == for_site(f"[a]({link})", PurePosixPath(page))


def test_links_in_blocks_of_code_stay() -> None:
    code = "```\n[a](../CHANGELOG.md)\n```\n"
    assert code == for_site(code, PurePosixPath("docs/pools.md"))


def test_the_site_has_what_pages_lead_to() -> None:
    page = PurePosixPath("docs/alerts.md"), "[alerts](../alerts)"
    found = project_pages(iter([page]))
    assert "# alerts\n" in str(found[PurePosixPath("project/alerts/README.md")])
    rules = str(found[PurePosixPath("project/alerts/rules.yml.md")])
    assert (ROOT / "alerts/rules.yml").read_text() in rules
    assert '```yaml title="alerts/rules.yml"' in rules
    for name in ("changelog", "contributing", "security", "examples/worker.py"):
        assert PurePosixPath(f"project/{name}.md") in found


def test_other_files_are_copied() -> None:
    found = project_pages(iter([(PurePosixPath("docs/a.md"), "[a](../dashboards)")]))
    copied = {place.name: path for place, path in found.items() if isinstance(path, Path)}
    assert {path.name for path in (ROOT / "dashboards").glob("*.json")} <= copied.keys()


def test_pages_keep_their_folders() -> None:
    assert PurePosixPath("findings/README.md") == place_of(PurePosixPath("docs/findings/README.md"))


def test_terms_of_docstrings_are_a_list() -> None:
    docstring = """Watch a pool.

target: an engine,
    or a pool.
name: any string.

Raises TypeError: never."""
    expected = """Watch a pool.

- **target**: an engine,
    or a pool.
- **name**: any string.

Raises TypeError: never."""
    assert expected == as_markdown(docstring)
