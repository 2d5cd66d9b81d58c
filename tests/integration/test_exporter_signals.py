"""What signals do to the exporter, from its first moment on, and as the first process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from poolscope.process.signals import is_exporter
from support.exporters import ExporterProcess, exporter
from support.tools import required
from support.waiting import PATIENCE, eventually

__all__ = ["exporter"]

STARTS: Final = {
    "-m": [sys.executable, "-m", "poolscope"],
    "script": [str(Path(sys.executable).parent / "poolscope")],
}

AT_IMPORT: Final = """
import os, sys

def send(event, details):
    if event == "import" and details[0] == os.environ["TEST_MODULE"]:
        os.environ["TEST_MODULE"] = ""
        for number in os.environ["TEST_SIGNALS"].split():
            os.kill(os.getpid(), int(number))

sys.addaudithook(send)
"""
"""A sitecustomize: the process sends itself signals when it is about to import a module."""

MODULES: Final = (
    "poolscope.commands", "poolscope.cli", "prometheus_client", "poolscope.fleet.fleet",
    "poolscope.exporter.main", "aiohttp", "bcrypt", "poolscope.exporter.web_config",
)  # fmt: skip
"""From the first that the command imports to the last that the exporter does."""


@pytest.fixture
def run(tmp_path: Path, folder: Path) -> Any:
    """Returns a function that runs the exporter, with signals when it imports a module."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(AT_IMPORT)

    def run(start: list[str], module: str, *numbers: int) -> subprocess.CompletedProcess[str]:
        command = [*start, "exporter", "--dir", str(folder), "--web.listen-address", "127.0.0.1:0"]
        environment = {
            "PYTHONPATH": str(tmp_path / "hook"),
            "TEST_MODULE": module,
            "TEST_SIGNALS": " ".join(str(int(number)) for number in numbers),
        }
        return subprocess.run(
            command,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    return run


class TestWhileItStarts:
    @pytest.mark.parametrize("module", MODULES)
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
    def test_a_signal_to_stop_ends_it_with_0(
        self, run: Any, module: str, number: signal.Signals
    ) -> None:
        done = run(STARTS["-m"], module, signal.SIGHUP, number, number)
        assert (0, "", "") == (done.returncode, done.stdout, done.stderr)

    def test_the_script_does_the_same(self, run: Any) -> None:
        done = run(STARTS["script"], MODULES[0], signal.SIGHUP, signal.SIGTERM)
        assert (0, "", "") == (done.returncode, done.stdout, done.stderr)

    @pytest.mark.parametrize("module", [MODULES[0], "aiohttp"])
    def test_as_the_first_process_it_gets_the_signal_as_well(self, run: Any, module: str) -> None:
        start = [required("unshare", "util-linux"), "--pid", "--fork", "--kill-child"]
        if os.geteuid() != 0:
            start += ["--user", "--map-root-user"]
        if subprocess.run([*start, "true"], check=False, capture_output=True).returncode != 0:
            pytest.skip("this process may make no namespace")
        done = run([*start, *STARTS["-m"]], module, signal.SIGHUP, signal.SIGTERM)
        assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


HANGS: Final = {
    "a name server": "socket.getaddrinfo = lambda *_, **__: time.sleep(3600)",
    "the folder": "fleet.Fleet.scan = lambda *_: time.sleep(3600)",
    "the web config file": "listener.load = lambda *_: time.sleep(3600)",
    "a thread that checks a password": "asyncio.BaseEventLoop.run_forever = with_a_thread",
}
HANGING: Final = """
import asyncio, os, signal, socket, sys, threading, time
from poolscope.cli import main
from poolscope.exporter import listener
from poolscope.exporter import main as exporter
from poolscope.fleet import fleet

run_forever = asyncio.BaseEventLoop.run_forever

def with_a_thread(loop):
    asyncio.BaseEventLoop.run_forever = run_forever
    loop.call_soon(loop.run_in_executor, None, time.sleep, 3600)
    run_forever(loop)

{}
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("what", HANGS)
def test_whatever_hangs_it_ends(folder: Path, tmp_path: Path, what: str) -> None:
    web_config = tmp_path / "web.yml"
    web_config.write_text("{}")
    done = subprocess.run(
        [
            *(sys.executable, "-c", HANGING.format(HANGS[what]), "exporter"),
            *("--dir", str(folder), "--web.listen-address", "localhost:0"),
            *("--web.config.file", str(web_config)),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert 0 == done.returncode
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith("INFO stopping\n")


class TestWhileItServes:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
    def test_many_signals_to_stop_are_as_one(self, exporter: Any, number: signal.Signals) -> None:
        for _ in range(20):
            exporter.process.send_signal(number)
        assert 0 == exporter.stop()
        assert ["stopping"] == [entry["message"] for entry in exporter.log[2:]]

    def test_a_hang_up_ends_nothing(self, exporter: Any) -> None:
        for _ in range(20):
            exporter.process.send_signal(signal.SIGHUP)
        assert 200 == exporter.get("/metrics")[0]
        assert 0 == exporter.stop()

    def test_a_hang_up_loads_the_web_config(self, folder: Path, tmp_path: Path) -> None:
        file = tmp_path / "web.yml"
        file.write_text("http_server_config: {headers: {X-Frame-Options: deny}}\n")
        exporter = ExporterProcess(folder, "--web.config.file", str(file))
        exporter.process.send_signal(signal.SIGHUP)
        assert f"reloaded {file}" == json.loads(exporter.process.stderr.readline())["message"]
        assert "deny" == exporter.get("/")[1]["X-Frame-Options"]
        assert 0 == exporter.stop()

    async def test_its_unix_socket_is_gone_at_the_end(self, folder: Path, short_path: Path) -> None:
        path = short_path / "x.sock"
        exporter = ExporterProcess(folder, "--web.listen-address", f"unix:{path}")
        await eventually(True, path.is_socket)
        assert 0 == exporter.stop()
        assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "original", "expected"),
    [
        (["/usr/bin/poolscope", "exporter"], ["python", "/usr/bin/poolscope", "exporter"], True),
        (["-m", "exporter", "-x"], ["python", "-m", "poolscope", "exporter", "-x"], True),
        (["-m", "exporter"], ["python", "-I", "-mpoolscope", "exporter"], True),
        (["C:\\bin\\poolscope.exe", "exporter"], ["poolscope.exe", "exporter"], True),
        (["/usr/bin/poolscope", "demo"], ["python", "/usr/bin/poolscope", "demo"], False),
        (["-m", "exporter"], ["python", "-m", "shop", "exporter"], False),
        (["-m", "exporter", "poolscope"], ["python", "-m", "shop", "exporter", "poolscope"], False),
        (["/srv/shop.py", "exporter"], ["python", "/srv/shop.py", "exporter"], False),
        (["-c", "exporter"], ["python", "-c", "import poolscope", "exporter"], False),
        ([""], ["python"], False),
        ([], [], False),
    ],
)
def test_no_other_process_handles_signals(
    arguments: list[str], original: list[str], expected: bool
) -> None:
    assert expected == is_exporter(arguments, original)


def test_an_import_in_a_service_leaves_signals_alone() -> None:
    program = (
        "import signal; before = [signal.getsignal(n) for n in signal.valid_signals()]\n"
        "import poolscope\n"
        "assert before == [signal.getsignal(n) for n in signal.valid_signals()]"
    )
    subprocess.run([sys.executable, "-c", program, "exporter"], check=True)
