"""The command `poolscope check`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy

from launching.launched import environment
from poolscope.checking import sources
from poolscope.checking.found import Checked, PoolState
from poolscope.cli import main
from poolscope.fleet.folder import Folder
from poolscope.readings.findings import Finding
from poolscope.watching.watches import Watches
from support.ports import closed_port

STALE: Final = Finding("orders", "sqlalchemy", "stale-connections", "warning", "stale", ("a.py:1",))
NESTED: Final = Finding(
    "orders", "sqlalchemy", "nested-acquire", "critical", "nested", ("a.py:7 in pay",)
)
POOLS: Final = (
    PoolState("orders", "sqlalchemy", 2.0, 15.0, 1.0, ("a.py:9 in keep",)),
    PoolState("billing", "asyncpg", 0.0, 10.0, 1.0),
    PoolState("prices", "aiohttp", 0.0, 100.0, 1.0),
)

PROGRAM: Final = """\
import sqlalchemy

engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool, pool_size=60)


def drop():
    engine.connect()


drop()
"""


def check(*arguments: str) -> int:
    try:
        return main(["check", *arguments])
    except SystemExit as exit_:
        return int(exit_.code or 0)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What an exporter finds."""
    findings = [NESTED, STALE]
    asked = lambda url: Checked(url, tuple(findings), POOLS)  # noqa: E731
    monkeypatch.setattr(sources, "of_exporter", asked)
    return findings


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def rules(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [finding["rule"] for finding in printed(capsys)["findings"]]


@pytest.mark.parametrize(
    ("fail_on", "codes"), [("critical", (1, 0)), ("warning", (1, 1)), ("info", (1, 1))]
)
def test_it_fails_for_what_matters(
    exporter: list[Finding], fail_on: str, codes: tuple[int, int]
) -> None:
    assert codes[0] == check("--fail-on", fail_on)
    exporter.remove(NESTED)
    assert codes[1] == check("--fail-on", fail_on)
    exporter.clear()
    assert 0 == check("--fail-on", fail_on)


def test_rules_that_are_ignored(
    exporter: list[Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == check("--format", "json", "--ignore", "nested-acquire:ord*")
    assert ["stale-connections"] == rules(capsys)
    assert 1 == check("--format", "json", "--ignore", "nested-acquire:bill*")
    assert ["nested-acquire", "stale-connections"] == rules(capsys)


def test_only_some_pools(exporter: list[Finding], capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == check("--format", "json", "--pool", "bill*")
    document = printed(capsys)
    assert ([], ["billing"]) == (
        document["findings"],
        [pool["pool"] for pool in document["pools"]],
    )


def test_connections_that_are_out(
    exporter: list[Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    exporter.clear()
    assert 0 == check("--max-out", "2")
    assert 1 == check("--max-out", "0")
    assert "a.py:9: critical: max-out: 2 connections out" in capsys.readouterr().out


def test_connections_in_all(exporter: list[Finding], capsys: pytest.CaptureFixture[str]) -> None:
    exporter.clear()
    assert 0 == check("--max-connections", "25")
    assert 1 == check("--max-connections", "24")
    expected = "the pools billing, orders may open 25 connections together, and at most 24 may be"
    assert expected in capsys.readouterr().out


def test_a_baseline_leaves_out_what_was_found_before(
    exporter: list[Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    assert 0 == check("--write-baseline", "known.json")
    assert "accepts 2 findings; check with --baseline known.json" in capsys.readouterr().out
    exporter[0] = Finding(
        "orders", "sqlalchemy", "nested-acquire", "critical", "9 nested", ("a.py:99 in pay",)
    )
    assert 0 == check("--baseline", "known.json")
    exporter.append(
        Finding("orders", "sqlalchemy", "nested-acquire", "critical", "1", ("b.py:1 in other",))
    )
    assert 1 == check("--baseline", "known.json")


def test_a_baseline_is_never_half_written(
    exporter: list[Finding], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "known.json").symlink_to("folder/known.json")
    assert 0 == check("--write-baseline", "known.json")
    assert (tmp_path / "known.json").is_symlink()
    with (tmp_path / "known.json").open() as reading:
        assert 0 == check("--write-baseline", "known.json")
        # It is another file: this one stays as it was.
        assert 2 == len(json.load(reading)["findings"])
    assert ["known.json"] == [each.name for each in (tmp_path / "folder").iterdir()]
    capsys.readouterr()
    assert 1 == check("--write-baseline", "missing/known.json")
    assert "poolscope check: missing/known.json: No such file" in capsys.readouterr().err
    assert 1 == check("--write-baseline", "folder")
    assert "poolscope check: folder: Is a directory\n" == capsys.readouterr().err


def test_the_settings_of_a_project(
    exporter: list[Finding], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.poolscope]\nleak-after = 5\n[tool.poolscope.check]\nfail-on = 'warning'\n"
        "ignore = [{rule = 'nested-acquire', pool = 'ord*', reason = 'one caller only'}]\n"
    )
    assert 1 == check("--format", "json")
    assert ["stale-connections"] == rules(capsys)
    assert 0 == check("--fail-on", "critical")


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("ignore = [{rule = 'null-pool'}]", "ignore: 'null-pool' needs a reason"),
        ("ignore = [{rule = 'nul', reason = 'x'}]", "ignore: 'nul' is no rule; rules are "),
        ("ignore = ['null-pool']", "ignore must be a list of"),
        ("ignore = [{rule = 'null-pool', why = 'x', reason = 'x'}]", "'why' is not known"),
        ("ignore = [{rule = 1, reason = 'x'}]", "must be strings"),
        ("fail-on = 'error'", "fail-on must be critical, warning or info"),
        ("max-out = -1", "-1 is not a whole number from 0 on"),
        ("baseline = 1", "baseline must name a file"),
        ("fail_on = 'info'", "'fail_on' is not known; known are ignore, fail-on, baseline"),
    ],
)
def test_bad_settings_of_a_project(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, table: str, complaint: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.poolscope.check]\n{table}\n")
    assert 2 == check()
    said = capsys.readouterr().err
    assert said.startswith("poolscope check: pyproject.toml, [tool.poolscope.check]: ")
    assert complaint in said
    assert 1 == said.count("\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--ignore", "stale"), "'stale' is no rule; rules are abandoned, "),
        (("--fail-on", "error"), "invalid choice: 'error'"),
        (("--format", "xml"), "invalid choice: 'xml'"),
        (("--url", "ftp://a"), "'ftp://a' is not an address"),
        (("--max-out", "few"), "'few' is not a whole number from 0 on"),
        (("--baseline", "missing.json"), "missing.json: No such file or directory"),
        (("--url", "http://a", "--dir", "b"), "give only one of --url, --dir and --run"),
        (("--dir", "b", "--run", "true"), "give only one of --url, --dir and --run"),
        (("--run",), "name the command to run"),
        (("--run", "--"), "name the command to run"),
    ],
)
def test_bad_input_gets_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    assert 2 == check(*arguments)
    said = capsys.readouterr().err
    assert said.startswith("poolscope check: ")
    assert complaint in said
    assert 1 == said.count("\n")


def test_a_file_that_is_no_baseline(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    entry = '{"rule": "a", "pool": "b", "kind": "c", "places": %s}'
    for text in (
        "",
        "[]",
        "5",
        "[" * 100_000,
        '{"version": 2}',
        '{"version": 1}',
        '{"version": 1, "findings": [{}]}',
        '{"version": 1, "findings": [5]}',
        *(f'{{"version": 1, "findings": [{entry % places}]}}' for places in ("5", "[5]", "[[1]]")),
    ):
        (tmp_path / "known.json").write_text(text)
        assert 2 == check("--baseline", "known.json")
        assert "known.json is no baseline; --write-baseline" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--url", f"http://127.0.0.1:{closed_port()}"),
        ("--dir", "no-such-folder"),
        ("--run", "no-such-program"),
    ],
)
def test_who_could_not_ask_says_so_by_another_code(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert 3 == check(*arguments)
    said = capsys.readouterr()
    assert ("", 1) == (said.out, said.err.count("\n"))
    assert said.err.startswith("poolscope check: ")


def test_a_folder(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.QueuePool, pool_size=60)
    Watches(folder=Folder(folder)).watch(engine, "orders", registry=None)
    with engine.connect():
        assert 0 == check("--dir", str(folder), "--format", "json")
        document = printed(capsys)
        assert 1 == check("--dir", str(folder), "--max-out", "0")
        assert "test_a_folder" not in capsys.readouterr().err
    (pool,) = document["pools"]
    assert ("orders", 1, 70) == (pool["pool"], pool["in_use"], pool["limit"])
    engine.dispose()


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).parent / "poolscope", "check", *words],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_command(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    ended = run("--run", "--", "python", "app.py", cwd=tmp_path)
    assert "poolscope: watching 'sqlite' (sqlalchemy, 60+10)\n" == ended.stderr
    first = ended.stdout.splitlines()[0]
    assert first.startswith("app.py:7: critical: abandoned: ")
    assert 1 == ended.returncode
    ended = run("--ignore", "abandoned", "--run", "python", "app.py", cwd=tmp_path)
    assert 0 == ended.returncode
    words = ("--processes", "2", "--max-connections", "140", "--ignore", "abandoned")
    assert 0 == run(*words, "--run", "python", "app.py", cwd=tmp_path).returncode
    words = ("--processes", "2", "--max-connections", "139", "--ignore", "abandoned")
    assert 1 == run(*words, "--run", "python", "app.py", cwd=tmp_path).returncode


def test_a_command_that_fails_fails_the_check(tmp_path: Path) -> None:
    ended = run("--run", "python", "-c", "raise SystemExit(7)", cwd=tmp_path)
    assert 7 == ended.returncode
    assert "Nothing found in 0 pools" in ended.stdout
