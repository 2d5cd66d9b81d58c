"""What commands say when they cannot go on, and what is said meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from poolscope.cli import main
from poolscope.commands import exporter
from support.ports import ReservedPort


@pytest.mark.parametrize(
    ("command", "missing"),
    [
        (["alerts", "--out", "there"], "yaml"),
        (["dashboards", "--out", "there"], "grafanalib"),
        (["exporter", "--dir", "there"], "bcrypt"),
    ],
    ids=["alerts", "dashboards", "exporter"],
)
def test_a_missing_extra_is_named_with_how_to_get_it(command: list[str], missing: str) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"from poolscope.cli import main\nsys.exit(main({command!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    extra = f"{missing} is missing; pip install 'poolscope[{command[0]}]'"
    assert (1, "", f"poolscope {command[0]}: {extra}\n") == (
        done.returncode,
        done.stdout,
        done.stderr,
    )


@pytest.mark.parametrize(
    ("before", "missing"),
    [
        ("sys.modules['fcntl'] = None", "POSIX record locks"),  # as on Windows
        ("import os; del os.posix_fallocate", "posix_fallocate"),  # as on macOS
    ],
)
def test_a_system_that_cannot_share_is_named_as_the_cause(
    before: str, missing: str, tmp_path: Path
) -> None:
    program = (
        f"import sys; {before}\n"
        "from poolscope.cli import main\n"
        f"sys.exit(main(['exporter', '--dir', {str(tmp_path / 'pools')!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    expected = (
        f"poolscope exporter: this system has no {missing}, which sharing the numbers of processes "
        "needs; serve those of each process instead, by poolscope.instrument or "
        "start_http_server\n"
    )
    assert (1, "", expected) == (done.returncode, done.stdout, done.stderr)


SERVED = """
import os, sys, urllib.request
{}
import poolscope
server, _ = poolscope.start_http_server({})
url = f"http://127.0.0.1:{{server.server_port}}/metrics"
print(b"python_info" in urllib.request.urlopen(url).read())
"""


@pytest.mark.parametrize("before", ["sys.modules['fcntl'] = None", "del os.posix_fallocate"])
def test_such_a_system_serves_each_process_and_says_why(before: str, tmp_path: Path) -> None:
    port = ReservedPort()
    done = subprocess.run(
        [sys.executable, "-c", SERVED.format(before, port.number)],
        env={**os.environ, "POOLSCOPE_DIR": str(tmp_path / "pools")},
        capture_output=True,
        text=True,
        check=True,
    )
    port.give_back()
    assert "True\n" == done.stdout
    assert (
        "POOLSCOPE_DIR cannot be used, so the exporter does not see all pools: this system has "
        in (done.stderr)
    )


class TestAlerts:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (("--events", "0"), "events: 0.0 must be more than 0"),
            (("--grafana", "x"), "--grafana: 'x' is not a URL, such as https://..."),
        ],
    )
    def test_bad_options_are_one_line_and_2(
        self,
        words: tuple[str, ...],
        expected: str,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        out = tmp_path / "alerts"
        assert 2 == main(["alerts", "--out", str(out), *words])
        assert ("", f"poolscope alerts: {expected}\n") == capsys.readouterr()
        assert not out.exists()

    def test_a_folder_that_cannot_be_made_is_one_line_and_1(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "file"
        out.write_text("")
        assert 1 == main(["alerts", "--out", str(out)])
        assert ("", f"poolscope alerts: {out}: File exists\n") == capsys.readouterr()


class TestWhatWasWritten:
    """Each file, and what to do next."""

    GRAFANA = (
        "copy a/provisioning.yml to /etc/grafana/provisioning/dashboards, and restart Grafana, "
        "which then reads "
    )
    RULES = (
        "promtool test rules a/tests/*.yml; name a/recording.yml and a/rules.yml in `rule_files` "
        "of prometheus.yml, take the routes of a/alertmanager.yml over into that of Alertmanager, "
        "and reload both"
    )

    @pytest.mark.parametrize(
        ("words", "follows"),
        [
            (("alerts", "--out", "a"), RULES),
            (("alerts", "--out", "a", "--format", "operator"), "kubectl apply -f a"),
            (("dashboards", "--out", "a"), f"{GRAFANA}{{here}}/a"),
            (("dashboards", "--out", "a", "--path", "/boards"), f"{GRAFANA}/boards"),
        ],
        ids=["alerts", "operator", "dashboards", "path"],
    )
    def test_each_file_and_the_next_step(
        self,
        words: tuple[str, ...],
        follows: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert 0 == main(words)
        *written, last = capsys.readouterr().out.splitlines()
        files = sorted(str(path) for path in Path("a").rglob("*.*") if path.is_file())
        assert [f"wrote {file}" for file in files] == sorted(written)
        assert f"next: {follows.format(here=tmp_path.resolve())}" == last


NAMES_NOTHING: Final = {
    ("exporter", "--dir"): "'' does not name a folder",
    ("exporter", "--web.config.file"): "'' does not name a file",
    ("exporter", "--web.listen-address"): "'' is not HOST:PORT",
    ("exporter", "--web.telemetry-path"): "'' is not a path",
    ("exporter", "--web.route-prefix"): "'' is not a path",
    ("exporter", "--web.external-url"): "not a URL",
    ("exporter", "--postgres"): "not a DSN",
    ("exporter", "--pgbouncer"): "not a DSN",
    ("exporter", "--log.level"): "invalid choice: ''",
    ("exporter", "--log.format"): "invalid choice: ''",
    ("alerts", "--out"): "'' does not name a folder",
    ("dashboards", "--out"): "'' does not name a folder",
}


class TestAnOptionThatNamesNothing:
    def test_all_options_of_the_exporter_are_here(self) -> None:
        flags = {("exporter", flag) for flag, what in exporter.OPTIONS if "action" not in what}
        assert flags <= set(NAMES_NOTHING)

    @pytest.mark.parametrize("words", NAMES_NOTHING, ids=" ".join)
    @pytest.mark.parametrize("joint", [False, True], ids=["two words", "one word"])
    def test_it_is_named_in_one_line(
        self, words: tuple[str, str], joint: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command, flag = words
        with pytest.raises(SystemExit) as ended:
            main([command, f"{flag}="] if joint else [command, flag, ""])
        text = capsys.readouterr().err
        assert (2, 1) == (ended.value.code, text.count("\n"))
        assert f"argument {flag}: {NAMES_NOTHING[words]}" in text


class TestErrorsAsJson:
    @pytest.mark.parametrize("flag", [("--log.format", "json"), ("--log.format=json",)], ids=len)
    @pytest.mark.parametrize(
        ("words", "code", "message"),
        [
            (("--dir", ""), 2, "argument --dir: '' does not name a folder"),
            (("--nothing",), 2, "unrecognized arguments: --nothing"),
            (("--dir", "there", "--web.listen-address", "x"), 2, "'x' is not HOST:PORT"),
            ((), 2, "name the folder"),
            (("--dir", "no/such"), 1, "no does not exist; create it first"),
            (("--dir", "pools", "--web.config.file", "none"), 1, "none: cannot be read"),
            (("--dir", "pools", "--postgres", "postgres://a#b"), 2, "not a DSN: write @"),
            (("--dir", "pools", "--web.listen-address", "unix:no/such"), 1, "cannot listen at"),
            (("--dir", "pools", "--web.systemd-socket"), 1, "--web.systemd-socket: systemd has"),
        ],
    )
    def test_whatever_keeps_the_exporter_from_starting(
        self, words: tuple[str, ...], code: int, message: str, flag: tuple[str, ...], tmp_path: Path
    ) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "poolscope", "exporter", *flag, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "POOLSCOPE_DIR": ""},
        )
        entry = json.loads(done.stderr)
        assert (code, "", "error") == (done.returncode, done.stdout, entry["level"])
        assert message in entry["message"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--web.external-url", "ftp://a/"), "not a URL"),
        (("--web.external-url", "https://"), "not a URL"),
        (("--web.external-url", "https://a:b/"), "not a URL"),
        (("--web.external-url", "https://a:99999/"), "not a URL"),
        (("--web.external-url", "https://me:hunter2@a/"), "not a URL"),
        (("--web.external-url", "https://a/?hunter2"), "not a URL"),
        (("--web.external-url", "https://a/#hunter2"), "not a URL"),
        (("--web.external-url", "//a/b"), "not a URL"),
        (("--web.external-url", "https://a/../b"), "is not a path"),
        (("--web.external-url", "https://[::1/"), "not a URL"),
        (("--web.route-prefix", "/a/../b"), "is not a path"),
        (("--web.route-prefix", "/a//b"), "is not a path"),
        (("--web.route-prefix", "/{a}"), "is not a path"),
        (("--web.route-prefix", "/a b"), "is not a path"),
        (("--web.telemetry-path", "/assets"), "is taken"),
        (("--web.telemetry-path", "/./x"), "is not a path"),
        (("--web.telemetry-path", "//x"), "is not a path"),
        (("--web.telemetry-path", "/a/{b}"), "is not a path"),
    ],
)
def test_a_path_or_url_that_cannot_be_served(
    words: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["exporter", "--dir", "there", *words])
    text = capsys.readouterr().err
    assert (2, 1) == (ended.value.code, text.count("\n"))
    assert text.startswith(f"poolscope exporter: argument {words[0]}: ")
    assert message in text
    assert "hunter2" not in text
