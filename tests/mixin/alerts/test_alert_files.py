"""The committed files of the alerts, and writing them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from poolscope.mixin.alerts.options import Options
from poolscope.mixin.alerts.write import files, write

COMMITTED: Final = Path(__file__).parents[3] / "alerts"


def texts_in(folder: Path) -> dict[str, str]:
    """Return the text of each file below a folder, including hidden files."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in found}


def test_the_committed_files_are_those_that_are_generated() -> None:
    generated, committed = files(Options()), texts_in(COMMITTED)
    assert sorted(generated) == sorted(committed), "missing or orphaned files"
    stale = [name for name in generated if generated[name] != committed[name]]
    assert [] == stale, "run `make generate`"


def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "alerts", Options())
    write(tmp_path / "alerts", Options())
    assert files(Options()) == texts_in(tmp_path / "alerts")


def test_a_failed_write_changes_no_file(tmp_path: Path) -> None:
    out = tmp_path / "alerts"
    out.mkdir()
    (out / "rules.yml").write_text("mine")
    (out / "tests").write_text("no folder")
    with pytest.raises(OSError, match="tests"):
        write(out, Options())
    assert {"rules.yml": "mine", "tests": "no folder"} == texts_in(out)


def groups_of(text: str) -> list[Any]:
    document = yaml.safe_load(text)
    groups: list[Any] = document.get("spec", document)["groups"]
    return groups


def test_objects_for_the_operator_have_the_same_groups() -> None:
    plain, objects = files(Options()), files(Options(namespace="monitoring"), "operator")
    assert {
        "poolscope-recording.yml": groups_of(plain["recording.yml"]),
        "poolscope-alerts.yml": groups_of(plain["rules.yml"]),
    } == {name: groups_of(text) for name, text in objects.items()}


def test_objects_for_the_operator_have_their_metadata() -> None:
    objects = files(Options(namespace="monitoring"), "operator")
    heads = [yaml.safe_load(text) for text in objects.values()]
    labels = {"app.kubernetes.io/name": "poolscope", "role": "alert-rules"}
    assert [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": name, "namespace": "monitoring", "labels": labels},
        }
        for name in ("poolscope-recording", "poolscope-alerts")
    ] == [{key: value for key, value in head.items() if key != "spec"} for head in heads]


def test_without_a_namespace_objects_for_the_operator_have_none() -> None:
    heads = [yaml.safe_load(text)["metadata"] for text in files(Options(), "operator").values()]
    assert [False, False] == ["namespace" in head for head in heads]


def test_an_address_may_end_in_a_slash() -> None:
    runbooks, grafana = "https://wiki.example/pools", "https://grafana.example"
    plain = Options(runbooks=runbooks, grafana=grafana)
    slashed = Options(runbooks=f"{runbooks}/", grafana=f"{grafana}/")
    assert files(plain, "operator") == files(slashed, "operator")
