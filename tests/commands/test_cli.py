"""The command line: arguments, exit codes, and errors of one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import poolscope
from poolscope import demo
from poolscope.cli import main
from poolscope.demo.signals import STOP_SIGNALS, Stop

Calls = list[tuple[float | None, int, str, str | None]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The arguments of each call of the demo, which does not run."""
    made: Calls = []

    def run(seconds: float | None, port: int, addr: str, postgres: str | None) -> int:
        made.append((seconds, port, addr, postgres))
        return 0

    monkeypatch.setattr(demo, "run", run)
    return made


@pytest.fixture
def signals_restored() -> Iterator[None]:
    """Restores the signal handlers, which the demo does not do."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (None, 10464, "127.0.0.1", None)),
        (["--seconds", "0.5"], (0.5, 10464, "127.0.0.1", None)),
        (["--port", "0", "--addr", "::1"], (None, 0, "::1", None)),
        (["--port", "65535"], (None, 65535, "127.0.0.1", None)),
        (["--postgres", "postgres://db"], (None, 10464, "127.0.0.1", "postgres://db")),
    ],
)
def test_the_demo_gets_its_arguments(
    arguments: list[str], expected: tuple[float | None, int, str, str | None], calls: Calls
) -> None:
    assert main(["demo", *arguments]) == 0
    assert [expected] == calls


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--seconds", "0"], "argument --seconds: '0' is not a positive number of seconds"),
        (["--seconds", "inf"], "argument --seconds: 'inf' is not a positive number of seconds"),
        (["--seconds", "ten"], "argument --seconds: 'ten' is not a positive number of seconds"),
        (
            ["--port", "65536"],
            "argument --port: '65536' is not a port, a whole number from 0 to 65535",
        ),
        (["--port", "-1"], "argument --port: '-1' is not a port, a whole number from 0 to 65535"),
        (["--addr", ""], "argument --addr: '' is not an address such as 127.0.0.1 or localhost"),
        (
            ["--addr", "not a host"],
            "argument --addr: 'not a host' is not the name or the address of a host",
        ),
        (["--addr"], "argument --addr: expected one argument"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_2(
    arguments: list[str], expected: str, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["demo", *arguments])
    assert exited.value.code == 2
    line = f"poolscope demo: {expected} (see poolscope demo --help)\n"
    assert ("", line) == capsys.readouterr()
    assert calls == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["--sec", "demo"], "unrecognized arguments: --sec"),
    ],
)
def test_arguments_that_no_command_takes_are_one_line_too(
    arguments: list[str], expected: str, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    assert exited.value.code == 2
    assert ("", f"poolscope: {expected} (see poolscope --help)\n") == capsys.readouterr()
    assert calls == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["demo", "--sec", "3"], "--sec 3; did you mean --seconds?"),
        (["demo", "--addr=x", "--sceonds", "3"], "--sceonds 3; did you mean --seconds?"),
        (["demo", "--quickly", "now"], "--quickly now"),
        (["demo", "now"], "now"),
        (["exporter", "--listen", ":1"], "--listen :1; did you mean --web.listen-address?"),
        (["exporter", "--web-config=x"], "--web-config=x; did you mean --web.config.file?"),
        (["size", "--prom", "x"], "--prom x; did you mean --prometheus?"),
        (
            ["top", "--ulr", "x", "--watch", "y"],
            "--ulr x --watch y; did you mean --url or --watch-for?",
        ),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_an_unknown_option_is_named_with_the_one_that_was_perhaps_meant(
    arguments: list[str], expected: str, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        main(arguments)
    assert exited.value.code == 2
    command = f"poolscope {arguments[0]}"
    line = f"{command}: unrecognized arguments: {expected} (see {command} --help)\n"
    assert ("", line) == capsys.readouterr()
    assert calls == []


def test_an_unknown_command_is_named_with_those_that_exist(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["dashboard"])
    assert exited.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "'dashboard'" in line
    assert "demo" in line


def test_help_lists_the_commands_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["--help"])
    assert exited.value.code == 0
    _, _, commands = capsys.readouterr().out.partition("commands:\n  COMMAND\n")
    names = [line.split()[0] for line in commands.splitlines() if line[4:5].strip()]
    assert names == ["demo", "run", "exporter", "top", "check", "size", "dashboards", "alerts"]


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        main(["--version"])
    assert exited.value.code == 0
    assert capsys.readouterr().out == f"poolscope {poolscope.__version__}\n"


@pytest.mark.parametrize(
    "how", [["-m", "poolscope"], [str(Path(sys.executable).with_name("poolscope"))]]
)
def test_the_version_is_told_before_anything_is_imported_that_takes_long(how: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", *how, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "poolscope.cli" in imported
    slow = {"prometheus_client", "asyncio", "argparse", "logging", "inspect"}
    assert set() == imported & slow
    signals = {"poolscope.process", "poolscope.process.signals"}
    assert {"poolscope", "poolscope.cli", *signals} == {
        name for name in imported if name.startswith("poolscope") and name != "poolscope.__main__"
    }


def completed(line: str, folder: Path) -> tuple[list[str], int]:
    """Return what a shell offers for this line, and the exit code."""
    answer = folder / "answer"
    answer.touch()
    done = subprocess.run(
        [sys.executable, "-m", "poolscope"],
        env={
            **os.environ,
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
            "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
            "_ARGCOMPLETE_IFS": "\n",
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("", "") == (done.stdout, done.stderr)
    return answer.read_text().splitlines(), done.returncode


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("poolscope das", ["dashboards"]),
        ("poolscope alerts --form", ["--format"]),
        ("poolscope alerts --format o", ["operator"]),
        ("poolscope exporter --log.lev", ["--log.level"]),
        ("poolscope demo --sec", ["--seconds"]),
    ],
)
def test_a_shell_completes_commands_and_options(
    line: str, expected: list[str], tmp_path: Path
) -> None:
    assert (expected, 0) == completed(line, tmp_path)


def test_completion_without_its_library_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "argcomplete.py").write_text("raise ImportError")
    command = [sys.executable, "-m", "poolscope", "alerts", "--out", str(tmp_path / "alerts")]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "_ARGCOMPLETE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (1, b"", b"") == (done.returncode, done.stdout, done.stderr)
    assert not (tmp_path / "alerts").exists()


def test_the_package_of_the_command_has_all_names_when_they_are_asked_for() -> None:
    program = (
        "import sys; sys.argv = ['poolscope', 'top']\n"
        "import poolscope; before = 'prometheus_client' in sys.modules\n"
        "print(before, poolscope.watch.__name__, 'watch' in dir(poolscope))\n"
        "from poolscope import lifespan; import poolscope.api\n"
        "print(poolscope.lifespan is poolscope.api.lifespan, hasattr(poolscope, 'nothing'))\n"
        "print(sorted(poolscope.__all__) == sorted(poolscope.api.__all__))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "False watch True\nTrue False\nTrue\n" == done.stdout


def test_help_needs_no_library_of_the_extra() -> None:
    program = f"""
import sys
for name in {demo.REQUIRED_MODULES!r}:
    sys.modules[name] = None
from poolscope.cli import main
main(["demo", "--help"])
"""
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "--seconds N" in finished.stdout


@pytest.mark.parametrize("name", demo.REQUIRED_MODULES)
def test_a_missing_extra_is_named_with_how_to_get_it(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signals_restored: None,
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["demo"]) == 1
    expected = (
        f"poolscope demo: a library is missing (no module {name}); pip install 'poolscope[demo]'\n"
    )
    assert ("", expected) == capsys.readouterr()


def test_a_system_without_shared_files_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signals_restored: None
) -> None:
    monkeypatch.setattr(demo, "MISSING", "posix_fallocate")
    assert main(["demo"]) == 1
    line = "this system has no posix_fallocate, which the exporter needs; run the demo on Linux"
    assert ("", f"poolscope demo: {line}\n") == capsys.readouterr()


def test_stop_records_the_first_signal_and_ignores_further_ones(
    signals_restored: None,
) -> None:
    with Stop() as stop:
        assert not stop.requested
        for number in (*STOP_SIGNALS, *STOP_SIGNALS):
            signal.raise_signal(number)
            assert stop.requested
    assert {signal.SIG_IGN} == {signal.getsignal(number) for number in STOP_SIGNALS}


def test_under_nohup_a_hangup_does_not_stop_the_demo(signals_restored: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Stop() as stop:
        signal.raise_signal(signal.SIGHUP)
        assert not stop.requested
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
