"""What `poolscope run` refuses before the command runs: one line that says why, and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import poolscope
from launching.launched import BIN, run
from poolscope.cli import main
from poolscope.launching.interpreters import ignoring_option, interpreter_of

Refused = Callable[..., str]
"""Returns what is printed when these words are refused with that exit code."""


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Refused:
    def execute(*_: Any) -> None:
        pytest.fail("the command is executed")

    monkeypatch.setattr(os, "execve", execute)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.pathsep.join([str(BIN), os.environ["PATH"]]))

    def refuse(*words: str, code: int = 2) -> str:
        try:
            ended = main(["run", *words])
        except SystemExit as error:
            ended = int(str(error.code))
        output, line = capsys.readouterr()
        assert ("", code) == (output, ended)
        assert line.startswith("poolscope run: ")
        assert 1 == line.count("\n")
        return line.removeprefix("poolscope run: ").removesuffix("\n")

    return refuse


def script(path: Path, *lines: str) -> Path:
    """Make an executable file."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join([*lines, ""]))
    path.chmod(0o755)
    return path


class TestTheCommand:
    def test_none(self, refused: Refused) -> None:
        expected = "name the command to run, such as: poolscope run -- python app.py"
        assert expected == refused() == refused("--")

    def test_one_that_is_not_found(self, refused: Refused) -> None:
        assert "gunicron: not found" == refused("gunicron", "app:app", code=127)
        assert "./app: not found" == refused("./app", code=127)

    def test_one_that_is_not_executable(self, refused: Refused, tmp_path: Path) -> None:
        (tmp_path / "app.py").touch()
        for name in ("./app.py", "app.py"):
            expected = f"{name} is not executable; did you mean: poolscope run -- python {name} -x"
            assert expected == refused(name, "-x", code=126)
        (tmp_path / "app").touch()
        assert "./app is not executable" == refused("./app", code=126)
        assert f"{tmp_path} is a folder, not a program" == refused(str(tmp_path), code=126)

    def test_one_whose_interpreter_is_not_found(self, refused: Refused, tmp_path: Path) -> None:
        app = str(script(tmp_path / "app", "#!/nowhere/bin/python3"))
        assert f"{app} is for /nowhere/bin/python3, which is not found" == refused(app, code=127)

    def test_one_that_the_system_does_not_execute(self, tmp_path: Path) -> None:
        app = script(tmp_path / "app", "echo")
        done = run(str(app))
        line = f"poolscope run: {app} is no program: it begins with no line such as #!/bin/sh\n"
        assert (line, 126) == (done.stderr, done.returncode)


class TestOptionsOfPython:
    @pytest.mark.parametrize("option", ["-I", "-E", "-S", "-IB", "-Es", "-uE"])
    def test_options_that_ignore_the_path(self, refused: Refused, option: str) -> None:
        assert refused("python", option, "app.py") == (
            f"python {option} ignores PYTHONPATH, by which poolscope run reaches it; leave "
            f"{option} out, or put `import poolscope.auto` into the program"
        )

    @pytest.mark.parametrize(
        "arguments",
        [
            ("app.py", "-I"),
            ("-m", "app", "-E"),
            ("-c", "pass", "-I"),
            ("-W", "-I", "app.py"),
            ("-WIgnore", "app.py"),
            ("-XImporttime", "-u", "app.py"),
            ("--check-hash-based-pycs", "-I", "app.py"),
            ("-", "-I"),
            (),
        ],
    )
    def test_what_only_looks_like_them(self, arguments: tuple[str, ...]) -> None:
        assert ignoring_option(arguments) is None

    def test_in_the_first_line_of_a_script(self, refused: Refused, tmp_path: Path) -> None:
        for line in (f"#!{sys.executable} -I", "#!/usr/bin/env -S A=b python -I"):
            app = str(script(tmp_path / "app", line))
            assert "-I ignores PYTHONPATH" in refused(app)


class TestInterpreters:
    @pytest.mark.parametrize(
        "lines",
        [
            ("#!{python}",),
            ("#!/usr/bin/env {python}",),
            ("#!/bin/sh", "'''exec' {python} \"$0\" \"$@\"", "' '''"),
        ],
        ids=["its path", "env", "a long path"],
    )
    def test_a_virtual_environment_without_poolscope(
        self, refused: Refused, tmp_path: Path, lines: tuple[str, ...]
    ) -> None:
        venv.create(tmp_path / "venv", symlinks=True)
        python = tmp_path / "venv" / "bin" / "python"
        made = [line.replace("{python}", str(python)) for line in lines]
        gunicorn = script(tmp_path / "bin" / "gunicorn", *made)
        advice = "which has no poolscope; install it there"
        assert refused(str(gunicorn), "app:app") == (
            f"gunicorn runs {python}, {advice}: {python} -m pip install poolscope"
        )
        assert refused(str(python), "app.py").startswith(f"{python}, {advice}")

    def test_an_old_python(self, refused: Refused, tmp_path: Path) -> None:
        python = script(tmp_path / "python3", "#!/bin/sh", "echo '[[3, 9], null]'")
        expected = f"{python}, which is Python 3.9; poolscope needs 3.11 or later"
        assert expected == refused(str(python), "app.py")

    def test_another_version(self, refused: Refused, tmp_path: Path) -> None:
        origin = tmp_path / "__init__.py"
        origin.write_text('__version__ = "0.0.9"\n')
        python = script(tmp_path / "python3", "#!/bin/sh", f"""echo '[[3, 12], "{origin}"]'""")
        assert refused(str(python), "app.py") == (
            f"{python}, which has poolscope 0.0.9, but this is {poolscope.__version__}; run the "
            f"one there: {python} -m poolscope run"
        )

    def test_the_same_version_elsewhere(self, tmp_path: Path) -> None:
        """As that of another virtual environment."""
        venv.create(tmp_path / "venv", symlinks=True)
        python = tmp_path / "venv" / "bin" / "python"
        folders = [str(Path(poolscope.__path__[0]).parent), *_packages()]
        program = "import poolscope, sqlalchemy\nsqlalchemy.create_engine('sqlite:////x.db')\n"
        program += "print(len(poolscope.snapshots()))"
        done = run(str(python), "-c", program, PYTHONPATH=os.pathsep.join(folders))
        assert ("1\n", 0) == (done.stdout, done.returncode)

    def test_what_is_no_python(self, tmp_path: Path) -> None:
        shell = script(tmp_path / "app", "#!/bin/sh")
        for program in (str(shell), "/bin/sh", str(tmp_path / "nothing")):
            assert interpreter_of([program], program, os.environ) is None

    def test_uwsgi(self, refused: Refused, tmp_path: Path) -> None:
        uwsgi = str(script(tmp_path / "uwsgi"))
        assert refused(uwsgi, "--http", ":8000") == (
            "uWSGI has its own Python, which poolscope run does not reach; run instead: "
            f"{uwsgi} --import=poolscope.auto --enable-threads --http :8000"
        )


def _packages() -> list[str]:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return [subprocess.check_output([sys.executable, "-c", code], text=True).strip()]


class TestSettings:
    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            (
                ("--name", "orders"),
                "--name: 'orders' is not PATTERN=NAME, such as 'orders@*=orders'",
            ),
            (("--name", "=x"), "--name: '=x' is not PATTERN=NAME, such as 'orders@*=orders'"),
            (
                ("--leak-after", "0"),
                "--leak-after: '0' is not a positive number of seconds, or off",
            ),
            (
                ("--leak-after", "nan"),
                "--leak-after: 'nan' is not a positive number of seconds, or",
            ),
            (("--dir", " "), "--dir: it must not be empty"),
            (("--application-name", ""), "--application-name: it must not be empty"),
            (
                ("--serve", "70000"),
                "--serve: '70000' is not a port, a whole number from 0 to 65535",
            ),
            (("--serve", "x"), "--serve: 'x' is not HOST:PORT"),
        ],
    )
    def test_flags(self, refused: Refused, words: tuple[str, str], expected: str) -> None:
        assert expected in refused(*words, "true")

    def test_a_flag_that_is_not_known(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as exited:
            main(["run", "--sreve", "1", "true"])
        line = (
            "poolscope run: unrecognized arguments: --sreve; did you mean --serve?"
            " (see poolscope run --help)\n"
        )
        assert (2, line) == (exited.value.code, capsys.readouterr().err)

    @pytest.mark.parametrize(
        ("variable", "value", "expected"),
        [
            ("NAMES", "orders", "'orders' is not PATTERN=NAME, such as 'orders@*=orders'"),
            ("NAMES", "a='b", '"a=\'b" has a quote that is not closed'),
            ("LEAK_AFTER", "soon", "'soon' is not a positive number of seconds, or off"),
            ("CALL_SITES", "maybe", "'maybe' is neither 1 nor 0"),
            ("REPORT", "2", "'2' is neither 1 nor 0"),
        ],
    )
    def test_variables(
        self,
        refused: Refused,
        monkeypatch: pytest.MonkeyPatch,
        variable: str,
        value: str,
        expected: str,
    ) -> None:
        monkeypatch.setenv(f"POOLSCOPE_{variable}", value)
        assert f"POOLSCOPE_{variable}: {expected}" == refused("true")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "laek-after = 3",
                "'laek-after' is not known; known are names, leak-after, call-sites,",
            ),
            ("leak-after = true", "leak-after: True is not a number of seconds, or 'off'"),
            ("leak-after = -1", "leak-after: '-1' is not a positive number of seconds, or off"),
            ("call-sites = 1", "call-sites: 1 is neither true nor false"),
            ("report = 'yes'", "report: 'yes' is neither true nor false"),
            ("dir = 3", "dir: 3 is not a string"),
            ("names = 3", "names: it must be a table, or a list of PATTERN=NAME"),
            ("names = ['x']", "names: 'x' is not PATTERN=NAME, such as 'orders@*=orders'"),
            ("names = [3]", "names: 3 is not a string"),
            ("serve = [3]", "serve: [3] is not a string"),
        ],
    )
    @pytest.mark.parametrize("name", ["poolscope.toml", "pyproject.toml"])
    def test_files(
        self, refused: Refused, tmp_path: Path, text: str, expected: str, name: str
    ) -> None:
        head, where = "", name
        if name == "pyproject.toml":
            head, where = "[tool.poolscope]\n", "pyproject.toml, [tool.poolscope]"
        (tmp_path / name).write_text(f"{head}{text}\n")
        assert refused("true").startswith(f"{where}: {expected}")

    def test_a_file_that_cannot_be_read(self, refused: Refused, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text("[tool\n")
        assert refused("true").startswith("pyproject.toml: cannot be read: ")

    def test_a_table_that_is_none(self, refused: Refused, tmp_path: Path) -> None:
        (tmp_path / "pyproject.toml").write_text("[tool]\npoolscope = 3\n")
        assert "must be a table" in refused("true")

    def test_a_folder_that_cannot_be_used(self, refused: Refused, tmp_path: Path) -> None:
        folder = tmp_path / "missing" / "pools"
        expected = f"{folder.parent} does not exist; create it first"
        assert expected == refused("--dir", str(folder), "true", code=1)
