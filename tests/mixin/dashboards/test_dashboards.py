"""The dashboards: what is committed is what is generated, and it passes all gates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixin.dashboards.gates import expressions, lint, schema
from poolscope.mixin.dashboards.grafana_json import text_of
from poolscope.mixin.dashboards.options import Options
from poolscope.mixin.dashboards.write import documents, files
from poolscope.mixin.files import write
from poolscope.mixin.labels import OptionError
from poolscope.mixin.queries import Queries, name_of

COMMITTED = Path(__file__).parents[3] / "dashboards"

OPTIONS = {
    "default": Options(),
    "other labels": Options(cluster="region", service="app", instance="host"),
    "no labels": Options(cluster="", service="", instance=""),
    "much else": Options(
        datasource="Mimir",
        matchers=('env="prod"', 'team=~"a|b"'),
        tags=("pools", "shop"),
        uid_prefix="shop-pools",
        folder="Shop",
    ),
}


@pytest.fixture(params=OPTIONS)
def options(request: pytest.FixtureRequest) -> Options:
    return OPTIONS[request.param]


def test_what_is_committed_is_what_is_generated() -> None:
    committed = {path.name: path.read_text() for path in COMMITTED.iterdir()}
    expected = files(Options())
    assert expected.keys() == committed.keys()
    assert expected == committed, "run `make generate`"


def test_they_are_the_same_each_time(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "poolscope", "dashboards", "--out", str(tmp_path)]
    for seed in ("1", "2"):
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
        assert files(Options()) == {path.name: path.read_text() for path in tmp_path.iterdir()}


class TestGates:
    def test_they_are_as_grafana_describes_them(self, options: Options) -> None:
        for document in documents(options).values():
            assert [] == schema.errors(document)

    def test_the_linter_has_nothing_to_say(self, options: Options) -> None:
        made = documents(options)
        for name, document in made.items():
            selected = [label for label in options.scope if name != "databases.json"]
            problems = lint.problems(document, prefix=f"{options.uid_prefix}-", selected=selected)
            # What a user has chosen is no accident.
            chosen = "variable 'datasource': it brings values of somebody's server along"
            assert ([chosen] if options.datasource else []) == problems
        assert [] == lint.problems_together(list(made.values()))

    def test_queries_are_of_the_catalogue(self, options: Options, promtool: str) -> None:
        labels = (*options.scope, "env", "team")
        for document in documents(options).values():
            assert [] == expressions.all_unknown(document, labels=labels, recorded=["ALERTS"])
            assert [] == expressions.parse(list(expressions.found(document)), promtool)

    def test_every_query_has_the_matchers(self) -> None:
        for document in documents(OPTIONS["much else"]).values():
            for panel in document["panels"]:
                for target in panel.get("targets", ()):
                    names = target["expr"].count("connpool_")
                    assert names == target["expr"].count('env="prod", team=~"a|b"'), target


def test_cells_of_tables_have_colours() -> None:
    for document in documents(Options()).values():
        for panel in document["panels"]:
            if panel["type"] == "table":
                # Where the older setting is, Grafana does not look at the cells' own.
                assert "displayMode" not in panel["fieldConfig"]["defaults"]["custom"]


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


class TestQueries:
    def test_what_the_catalogue_has_not_is_an_error(self) -> None:
        with pytest.raises(KeyError, match="connpool_wating"):
            name_of("wating")

    @pytest.mark.parametrize("method", ["rate", "increase"])
    def test_only_counters_have_a_rate(self, method: str) -> None:
        with pytest.raises(TypeError, match="waiting is not a counter"):
            getattr(Queries(), method)("waiting")

    def test_only_gauges_are_added_up(self) -> None:
        with pytest.raises(TypeError, match="waits_total is not a gauge"):
            Queries().gauge("waits_total")


class TestBadOptions:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (
                {"matchers": ("env=prod",)},
                "'env=prod' is not a label matcher, such as env=\"prod\"",
            ),
            ({"cluster": "my-cluster"}, "--cluster-label: 'my-cluster' is not a label name"),
            ({"uid_prefix": "a b"}, "--uid-prefix: 'a b' is not 1 to 24 letters, digits, _ or -"),
            ({"uid_prefix": "x" * 25}, f"--uid-prefix: '{'x' * 25}' is not 1 to 24 letters"),
            ({"tags": ()}, "--tag: there must be at least one, by which dashboards link"),
            ({"folder": "\n"}, "--folder: '\\n' is not a name"),
        ],
    )
    def test_one_line_says_what_would_be_right(self, given: dict[str, Any], message: str) -> None:
        with pytest.raises(OptionError) as error:
            Options(**given)
        assert str(error.value).startswith(message)

    def test_the_command_writes_nothing_then(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        code, said = run("--out", str(out), "--matcher", "env=prod")
        assert (2, 1, False) == (code, said.count("\n"), out.exists())
        assert said.startswith("poolscope dashboards: 'env=prod' is not a label matcher")

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
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
        *("--tag", "pools", "--tag", "shop"),
    )
    assert (0, "") == (code, said)
    assert files(OPTIONS["much else"]) == {p.name: p.read_text() for p in tmp_path.iterdir()}


class TestWriting:
    def test_all_or_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "old.json").write_text("old")
        with pytest.raises(OSError, match="Not a directory"):
            write(tmp_path, {"old.json": "new", "old.json/below.json": "new"})
        assert {"old.json": "old"} == {path.name: path.read_text() for path in tmp_path.iterdir()}

    def test_what_is_written_is_good_to_compare(self) -> None:
        text = text_of({"b": "ä", "a": [1]})
        assert '{\n  "a": [\n    1\n  ],\n  "b": "ä"\n}\n' == text
        assert {"a": [1], "b": "ä"} == json.loads(text)
