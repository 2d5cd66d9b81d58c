"""`poolscope run`: the command is the same process as without it, and its pools are watched."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from launching.launched import BIN, Launched, Shared, launch, run, shared
from support.ports import closed_port
from support.waiting import until

__all__ = ["launch", "shared"]

ONE_POOL = ("python", "one_pool.py")


class TestTheCommandIsTheSameProcess:
    def test_its_process_id_and_its_output(self, launch: Callable[..., Launched]) -> None:
        command = launch("--", *ONE_POOL, "pid", "wait")
        assert command.process.stdout is not None
        assert f"{command.process.pid}\n" == command.process.stdout.readline()

    def test_its_input(self) -> None:
        done = run("python", "-c", "print(input()[::-1])", stdin="abc\n")
        assert ("cba\n", "", 0) == (done.stdout, done.stderr, done.returncode)

    @pytest.mark.parametrize("way", ["exit:3", "quit:3"])
    def test_its_exit_code(self, way: str) -> None:
        assert 3 == run("--", *ONE_POOL, "once", way).returncode

    def test_its_end_by_a_signal(self) -> None:
        done = run("--", *ONE_POOL, "once", f"kill:{signal.SIGKILL:d}")
        assert -signal.SIGKILL == done.returncode

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signals(self, number: int, launch: Callable[..., Launched]) -> None:
        # A pipe that signals write to: unlike `pause`, it also ends for one that came before.
        program = "import os, signal, sys\nend, begin = os.pipe()\nos.set_blocking(begin, False)\n"
        program += "signal.set_wakeup_fd(begin)\nfor each in (2, 15):\n  signal.signal(each, "
        program += "lambda n, _: sys.exit(n))\nprint('ready', flush=True)\nos.read(end, 1)"
        command = launch("python", "-c", program)
        assert command.process.stdout is not None
        command.process.stdout.readline()
        assert number == command.end(number)

    def test_options_of_the_command_are_its_own(self) -> None:
        done = run("python", "-c", "import sys; print(sys.argv[1:])", "--report", "--", "-x")
        assert "['--report', '--', '-x']\n" == done.stdout

    def test_a_command_that_is_no_python_passes_it_on(self, folder: Path, shared: Shared) -> None:
        done = run("--dir", str(folder), "sh", "-c", "python one_pool.py once; exit 4")
        assert 4 == done.returncode
        assert {"orders.db": 1} == shared.acquired()


class TestWhatIsSaid:
    def test_the_first_pool_of_a_process(self) -> None:
        line = "poolscope: watching 'orders.db' (sqlalchemy, 1)\n"
        assert line == run("--", *ONE_POOL, "once").stderr

    def test_in_the_log_if_that_shows_it(self) -> None:
        program = "import logging; logging.basicConfig(level='INFO'); import sqlalchemy as s; "
        program += "s.create_engine('sqlite:////tmp/orders.db')"
        done = run("python", "-c", program)
        assert "INFO:poolscope:watching 'orders.db' (sqlalchemy, 5+10)\n" == done.stderr

    def test_nothing_without_a_pool(self) -> None:
        assert "" == run("--", *ONE_POOL, "sqlalchemy").stderr


class TestOptions:
    def test_names(self) -> None:
        done = run("--name", "x=y", "--name", "orders*=the orders", *ONE_POOL, "once")
        assert "poolscope: watching 'the orders' (sqlalchemy, 1)\n" == done.stderr

    @pytest.mark.parametrize(
        ("flags", "variables", "file", "expected"),
        [
            (["--leak-after", "1"], {"POOLSCOPE_LEAK_AFTER": "2"}, "leak-after = 3", 1.0),
            ([], {"POOLSCOPE_LEAK_AFTER": "2"}, "leak-after = 3", 2.0),
            ([], {}, "leak-after = 3", 3.0),
            ([], {}, "leak-after = 'off'", None),
            ([], {}, "", 60.0),
        ],
    )
    @pytest.mark.parametrize("name", ["poolscope.toml", "pyproject.toml"])
    def test_flags_before_variables_before_a_file(
        self,
        flags: list[str],
        variables: dict[str, str],
        file: str,
        expected: float | None,
        name: str,
        tmp_path: Path,
    ) -> None:
        head = "[tool.poolscope]\n" if name == "pyproject.toml" else ""
        (tmp_path / name).write_text(f"{head}{file}\n")
        program = "import poolscope.launching.settings as s; print(s.of_environment().options)"
        done = run(*flags, "python", "-c", program, cwd=tmp_path, **variables)
        assert f"leak_after={expected}, call_sites=True" in done.stdout

    def test_all_of_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "poolscope.toml").write_text(
            'leak-after = 5.0\ncall-sites = false\napplication-name = "shop"\ndir = "pools"\n'
            '[names]\n"orders*" = "the orders"\n'
        )
        program = "import os, poolscope.launching.settings as s\nprint(*s.of_environment())\n"
        program += "print(os.environ['POOLSCOPE_DIR'])"
        done = run("--name", "a=b", "python", "-c", program, cwd=tmp_path)
        names = "(('a', 'b'), ('orders*', 'the orders'))"
        options = "WatchOptions(leak_after=5.0, call_sites=False, application_name='shop')"
        assert f"{names} {options}\n{tmp_path}/pools\n" == done.stdout


class TestEnvironment:
    def test_paths_are_kept_and_inherited(self, tmp_path: Path) -> None:
        program = "import os, sys; print(os.environ['PYTHONPATH'].split(':')[1:3]); "
        program += "print([path for path in sys.path if path.endswith('site')])"
        done = run("python", "-c", program, PYTHONPATH=f"{tmp_path}:")
        assert f"['{tmp_path}', '']\n[]\n" == done.stdout

    def test_one_inside_of_another(self, folder: Path, shared: Shared) -> None:
        poolscope = str(BIN / "poolscope")
        done = run("--dir", str(folder), poolscope, "run", *ONE_POOL, "once", "exit:5")
        assert 5 == done.returncode
        assert {"orders.db": 1} == shared.acquired()

    def test_another_sitecustomize_is_executed(self, tmp_path: Path) -> None:
        (tmp_path / "sitecustomize.py").write_text("print('theirs')\n")
        program = "import sys; print(sys.modules['sitecustomize'].__file__)"
        done = run("python", "-c", program, PYTHONPATH=str(tmp_path))
        # The first one is of the Python that executes `poolscope run` itself.
        assert f"theirs\ntheirs\n{tmp_path}/sitecustomize.py\n" == done.stdout

    def test_one_that_fails_does_so_as_always(self, tmp_path: Path) -> None:
        (tmp_path / "sitecustomize.py").write_text("import nothing_of_that_name\n")
        done = run("python", "-c", "print('goes on')", PYTHONPATH=str(tmp_path))
        assert ("goes on\n", 0) == (done.stdout, done.returncode)
        assert 2 == done.stderr.count("Error in sitecustomize")  # of `poolscope run` itself, too


REPORT = """\
poolscope: 1 pool in 1 process
pool       kind        limit  most in use  acquires  waited  p99 wait  timed out  leaked
orders.db  sqlalchemy      1            1         3       1   99.5 ms          1       0
critical: orders.db (sqlalchemy): nested-acquire: a caller that already holds a connection asks \
the same pool for another; enough such callers deadlock the pool
    one_pool.py:45 in do
"""


def report_in(stderr: str) -> str:
    """Return the report, with its times as in `REPORT`."""
    found = re.search(r"^poolscope: (\d|no pool).*", stderr, re.MULTILINE | re.DOTALL)
    assert found is not None, stderr
    return re.sub(r"\d+\.\d ms", "99.5 ms", found[0])


class TestReport:
    @pytest.mark.parametrize("way", ["exit:0", "quit:0", f"kill:{signal.SIGKILL:d}"])
    def test_at_the_end(self, way: str) -> None:
        """However the process ends."""
        done = run("--report", *ONE_POOL, "once", "twice", way)
        assert REPORT == report_in(done.stderr)

    def test_of_children(self) -> None:
        each = "python one_pool.py once; "
        report = report_in(run("--report", "sh", "-c", each * 2).stderr)
        assert report.startswith("poolscope: 1 pool in 2 processes\n")
        assert re.search(r"orders\.db +sqlalchemy +1 +1 +2 +0 +0 +0\n", report)

    def test_of_the_example(self) -> None:
        """It never mentions poolscope."""
        examples = Path(__file__).parents[2] / "examples"
        done = run("--report", "python", "plain_script.py", cwd=examples)
        assert ("200 orders\n", 0) == (done.stdout, done.returncode)
        assert re.search(r"orders\.db +sqlalchemy +2 +[12] +202 ", report_in(done.stderr))

    def test_without_a_pool(self) -> None:
        assert "poolscope: no pool was made\n" == report_in(run("--report", "true").stderr)

    def test_its_folder_is_removed(self) -> None:
        done = run("--report", *ONE_POOL, "once")
        said = re.search(r"shared in (\S+);", done.stderr)
        assert said is not None
        private = Path(said[1]).parent
        until(lambda: not private.exists(), "the folder is removed")

    def test_none_of_a_command_that_the_system_does_not_execute(self, tmp_path: Path) -> None:
        app = tmp_path / "app"
        app.touch(mode=0o755)
        done = run("--report", str(app))
        said = re.search(r"shared in (\S+);", done.stderr)
        assert said is not None
        private = Path(said[1]).parent
        until(lambda: not private.exists(), "the folder is removed")
        assert 126 == done.returncode
        assert "no pool was made" not in done.stderr

    def test_of_a_folder_that_is_named(self, folder: Path) -> None:
        done = run("--report", "--dir", str(folder), *ONE_POOL, "once")
        assert "shared in" not in done.stderr
        assert "orders.db" in report_in(done.stderr)
        assert folder.exists()

    def test_while_it_runs(self, launch: Callable[..., Launched]) -> None:
        """The process beside it takes the signal, so the command may have a handler of its own."""
        command = launch("--report", "--", *ONE_POOL, "once", "pid", "wait", stderr=subprocess.PIPE)
        assert command.process.stderr is not None
        assert command.process.stdout is not None
        command.process.stdout.readline()
        lines = iter(command.process.stderr.readline, "")
        (beside,) = (int(line.split()[4]) for line in islice(lines, 3) if "-USR1" in line)
        os.kill(beside, signal.SIGUSR1)
        assert "poolscope: 1 pool in 1 process\n" in lines
        assert next(lines).startswith("pool ")
        assert None is command.process.poll()


class TestServe:
    def test_one_command_is_the_whole_setup(
        self, launch: Callable[..., Launched], tmp_path: Path
    ) -> None:
        command = launch("--serve", "{port}", "--", *ONE_POOL, "once", "pid", "wait")
        assert command.process.stdout is not None
        command.process.stdout.readline()
        url = f"http://127.0.0.1:{command.reserved.number}"
        with urllib.request.urlopen(f"{url}/metrics") as response:
            metrics = response.read().decode()
        ok = '{kind="sqlalchemy",outcome="ok",pool="orders.db"}'
        assert f"connpool_acquires_total{ok} 1.0" in metrics.replace(
            'pool="orders.db",kind="sqlalchemy",outcome="ok"',
            'kind="sqlalchemy",outcome="ok",pool="orders.db"',
        )
        command.process.kill()
        until(lambda: not _answers(url), "the exporter has ended with the command")

    def test_an_address_in_use(self) -> None:
        port = closed_port()
        done = run("--serve", str(port), "--", *ONE_POOL, "pid")
        line = f"poolscope run: cannot listen at 127.0.0.1:{port}: Address already in use\n"
        assert ("", 1, line) == (done.stdout, done.returncode, done.stderr)

    def test_a_folder_that_has_an_exporter(self, folder: Path, shared: Shared) -> None:
        done = run("--serve", "0", "--dir", str(folder), "--", *ONE_POOL, "pid")
        line = f"poolscope run: another exporter reads {folder}; one is enough\n"
        assert ("", 1, line) == (done.stdout, done.returncode, done.stderr)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/-/healthy").close()
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


def test_a_python_without_poolscope_goes_on() -> None:
    """A child of the command, which is not asked before."""
    program = "import sys; sys.modules['poolscope'] = None; import sqlalchemy; print('goes on')"
    done = run("sh", "-c", f'python -c "{program}"')
    assert "goes on\n" == done.stdout
    assert done.stderr.startswith("poolscope: ")
    assert "cannot import poolscope, so its pools are not watched" in done.stderr
    assert 1 == done.stderr.count("\n")
