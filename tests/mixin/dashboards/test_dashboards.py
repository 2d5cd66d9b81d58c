"""The dashboards: the committed files are those that are generated, and they pass all checks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixin.dashboards.gates import expressions, lint, schema
from mixin.dashboards.gates.walking import panels, with_queries
from poolscope.cli import main
from poolscope.mixin.dashboards.grafana_json import text_of
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.write import documents, files
from poolscope.mixin.files import write
from poolscope.mixin.labels import OptionError
from poolscope.mixin.queries import Queries, name_of

COMMITTED = Path(__file__).parents[3] / "dashboards"

DOCS, LIVE_PAGE = "https://docs.example/poolscope/", "http://pools.example/pools"

OPTIONS = {
    "default": Options(),
    "other labels": Options(cluster="region", service="app", instance="host"),
    "no labels": Options(cluster="", service="", instance=""),
    "all options": Options(
        datasource="Mimir",
        matchers=('env="prod"', 'team=~"a|b"'),
        tags=("pools", "shop"),
        uid_prefix="shop-pools",
        folder="Shop",
        docs=DOCS,
        live_page=LIVE_PAGE,
    ),
}


@pytest.fixture(params=OPTIONS)
def options(request: pytest.FixtureRequest) -> Options:
    return OPTIONS[request.param]


def test_the_committed_files_are_those_that_are_generated() -> None:
    committed = {path.name: path.read_text() for path in COMMITTED.iterdir()}
    expected = files(Options())
    assert expected.keys() == committed.keys()
    assert expected == committed, "run `make generate`"


def test_generating_is_deterministic(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "poolscope", "dashboards", "--out", str(tmp_path)]
    for seed in ("1", "2"):
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
        made = files(Options(path=str(tmp_path)))
        assert made == {path.name: path.read_text() for path in tmp_path.iterdir()}


class TestGates:
    def test_they_conform_to_the_schema_of_grafana(self, options: Options) -> None:
        for document in documents(options).values():
            assert [] == schema.errors(document)

    def test_they_pass_the_linter(self, options: Options) -> None:
        made = documents(options)
        for name, document in made.items():
            selected = [label for label in options.scope if name != "databases.json"]
            problems = lint.problems(
                document,
                prefix=f"{options.uid_prefix}-",
                selected=selected,
                urls=[url for url in (options.docs, options.live_page) if url],
            )
            # A data source that the user has set is allowed.
            allowed = "variable 'datasource': it contains values from a particular server"
            assert ([allowed] if options.datasource else []) == problems
        assert [] == lint.problems_together(list(made.values()))

    def test_queries_fit_the_catalogue(self, options: Options, promtool: str) -> None:
        labels = (*options.scope, "env", "team")
        for document in documents(options).values():
            assert [] == expressions.all_unknown(document, labels=labels, recorded=["ALERTS", "up"])
            assert [] == expressions.parse(list(expressions.found(document)), promtool)

    def test_every_query_has_the_matchers(self) -> None:
        for document in documents(OPTIONS["all options"]).values():
            for panel in with_queries(document):
                for target in panel.get("targets", ()):
                    names = len(re.findall(r"\b(?:connpool_\w+|up)\{", target["expr"]))
                    assert names == target["expr"].count('env="prod", team=~"a|b"'), target


def test_cells_of_tables_have_colours() -> None:
    for document in documents(Options()).values():
        for panel in with_queries(document):
            if panel["type"] == "table":
                # Grafana ignores the cell options if this older setting is present.
                assert "displayMode" not in panel["fieldConfig"]["defaults"]["custom"]


def test_the_rows_and_panels_that_runbooks_name_exist() -> None:
    titles = {
        panel.get("title") for made in documents(Options()).values() for panel in panels(made)
    }
    pages = sorted((COMMITTED.parent / "docs" / "runbooks").glob("*.md"))
    named = {
        title
        for page in pages
        for title in re.findall(r'(?:row|panel)\s+"([^"]+)"', page.read_text())
    }
    assert "Holders" in named
    assert set() == named - titles


class TestProvisioning:
    def test_grafana_finds_the_dashboards(self) -> None:
        document = yaml.safe_load(files(Options(folder='Pools "of" ours'))["provisioning.yml"])
        (provider,) = document["providers"]
        assert (1, "poolscope", "Pools 'of' ours") == (
            document["apiVersion"],
            provider["name"],
            provider["folder"],
        )
        assert "/var/lib/grafana/dashboards/poolscope" == provider["options"]["path"]

    @pytest.mark.parametrize("name", ["grafana", "my boards", 'quoted "#" é: x'])
    def test_the_path_is_the_folder_that_was_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert 0 == main(["dashboards", "--out", name])
        document = yaml.safe_load((tmp_path / name / "provisioning.yml").read_text())
        assert str(tmp_path.resolve() / name) == document["providers"][0]["options"]["path"]


class TestQueries:
    def test_an_unknown_family_is_an_error(self) -> None:
        with pytest.raises(KeyError, match="connpool_wating"):
            name_of("wating")

    @pytest.mark.parametrize("method", ["rate", "increase"])
    def test_only_counters_have_a_rate(self, method: str) -> None:
        with pytest.raises(TypeError, match="waiting is not a counter"):
            getattr(Queries(), method)("waiting")

    def test_only_gauges_are_summed(self) -> None:
        with pytest.raises(TypeError, match="waits_total is not a gauge"):
            Queries().gauge("waits_total")


class TestBadOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                {"matchers": ("env=prod",)},
                "'env=prod' is not a label matcher, such as env=\"prod\"",
            ),
            ({"cluster": "my-cluster"}, "--cluster-label: 'my-cluster' is not a label name"),
            ({"uid_prefix": "a b"}, "--uid-prefix: 'a b' is not 1 to 24 letters, digits, _ or -"),
            ({"uid_prefix": "x" * 25}, f"--uid-prefix: '{'x' * 25}' is not 1 to 24 letters"),
            ({"tags": ()}, "--tag: there must be at least one, by which dashboards link"),
            ({"docs": "docs"}, "--docs: 'docs' does not begin with http:// or https://"),
            ({"live_page": "javascript:1"}, "--live-page: 'javascript:1' does not begin with http"),
            ({"folder": "\n"}, "--folder: '\\n' is not a name"),
        ],
    )
    def test_an_invalid_option_is_named(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(OptionError) as error:
            Options(**options)
        assert str(error.value).startswith(message)

    def test_the_command_writes_nothing_for_an_invalid_option(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        code, said = run("--out", str(out), "--matcher", "env=prod")
        assert (2, 1, False) == (code, said.count("\n"), out.exists())
        assert said.startswith("poolscope dashboards: 'env=prod' is not a label matcher")

    def test_a_folder_that_cannot_be_created_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        code, said = run("--out", str(tmp_path / "file"))
        assert (1, f"poolscope dashboards: {tmp_path / 'file'}: File exists\n") == (code, said)


def run(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "poolscope", "dashboards", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_all_options_are_on_the_command_line(tmp_path: Path) -> None:
    code, said = run(
        *("--out", str(tmp_path), "--datasource", "Mimir", "--uid-prefix", "shop-pools"),
        *("--matcher", 'env="prod"', "--matcher", 'team=~"a|b"', "--folder", "Shop"),
        *("--tag", "pools", "--tag", "shop", "--docs", DOCS, "--live-page", LIVE_PAGE),
        *("--path", "/var/lib/grafana/dashboards/shop-pools"),
    )
    assert (0, "") == (code, said)
    assert files(OPTIONS["all options"]) == {p.name: p.read_text() for p in tmp_path.iterdir()}


class TestWriting:
    def test_all_files_are_written_or_none(self, tmp_path: Path) -> None:
        (tmp_path / "old.json").write_text("old")
        with pytest.raises(OSError, match="Not a directory"):
            write(tmp_path, {"old.json": "new", "old.json/below.json": "new"})
        assert {"old.json": "old"} == {path.name: path.read_text() for path in tmp_path.iterdir()}

    def test_the_text_has_sorted_keys_and_a_line_for_each_value(self) -> None:
        text = text_of({"b": "ä", "a": [1]})
        assert '{\n  "a": [\n    1\n  ],\n  "b": "ä"\n}\n' == text
        assert {"a": [1], "b": "ä"} == json.loads(text)
