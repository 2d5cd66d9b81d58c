"""The search for the line of the application that asks for a connection."""

from __future__ import annotations

import inspect
import itertools
import subprocess
import sys
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from poolscope.callsites import frames
from poolscope.callsites.frames import here
from poolscope.callsites.origins import SKIPPED
from poolscope.errors import ErrorLog
from poolscope.label_values import MAX_CHARACTERS, label_value, printable
from poolscope.watching.watches import Watches


def line_of(function: Callable[..., Any], offset: int = 1) -> int:
    return function.__code__.co_firstlineno + offset


def ask() -> str:
    return str(here())


class Repository:
    def find(self) -> str:
        return ask()


def test_a_call_site_is_the_innermost_line_of_the_application() -> None:
    assert f"test_frames.py:{line_of(ask)} in ask" == Repository().find()


def test_a_lambda_and_a_nested_function_have_their_qualified_names() -> None:
    def inner() -> Any:
        return here()

    assert inner().function.label == f"test_frames:{inner.__qualname__}"
    assert "test_frames:<lambda>" == eval("lambda: here()", globals())().function.label  # noqa: S307


def test_the_standard_library_is_skipped() -> None:
    def clean_up() -> str:
        return str(weakref.finalize(Repository, here)())

    assert f"test_frames.py:{line_of(clean_up)} in {clean_up.__qualname__}" == clean_up()


def test_a_stack_without_an_application_has_no_call_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "rank_of", lambda *_: SKIPPED)
    monkeypatch.setattr(frames, "known_function", {}.get)
    assert here() is None


def test_code_generated_again_and_again_takes_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frames, "MAX_KNOWN_FUNCTIONS", 3)
    monkeypatch.setattr(frames, "_functions", {})
    for _ in range(10):
        eval(compile("here()", "made.py", "eval"))  # noqa: S307
    assert len(frames._functions) <= 3


def test_equal_code_in_two_modules_is_two_functions(tmp_path: Path) -> None:
    text = "from poolscope.callsites.frames import here\ndef get():\n    return str(here())\n"
    for name in ("cart", "stock"):
        (tmp_path / f"{name}.py").write_text(text)
    program = "import cart, stock; print(cart.get(), stock.get())"
    assert "cart.py:3 in get stock.py:3 in get" == run("-c", program, folder=tmp_path)


def test_code_that_a_library_generates_belongs_to_the_library() -> None:
    names = {"__name__": "sqlalchemy.orm", "here": here}
    assert here() == eval("here()", names)  # noqa: S307 - ours


def test_code_that_the_application_generates_belongs_to_the_application() -> None:
    site: Any = eval("here()", {"__name__": __name__, "here": here})  # noqa: S307 - ours
    assert f"{__name__}:<module>" == site.function.label
    assert "test_frames.py:1 in <module>" == str(site)


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_program_is_named_after_its_file_or_its_module(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "job.py").write_text(
        "from poolscope.callsites.frames import here\n\nprint(here().function.label, here())\n"
    )
    assert "job:<module> job.py:3 in <module>" == run("shop/job.py", folder=tmp_path)
    expected = "shop.job:<module> shop/job.py:3 in <module>"
    assert expected == run("-m", "shop.job", folder=tmp_path)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with an installed package, `shop`, that asks for its site."""
    package = tmp_path / "site-packages" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "job.py").write_text(
        "from poolscope.callsites.frames import here\n\ndef main():\n    return here()\n"
    )
    return package.parent


USE: Final = "import sys; sys.path.insert(0, {!r}); from shop.job import main\n\nprint(main())\n"


def test_an_installed_package_is_skipped(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "start.py").write_text(USE.format(str(installed)))
    assert "start.py:3 in <module>" == run("start.py", folder=tmp_path)


def test_an_application_that_is_an_installed_package_is_found(installed: Path) -> None:
    (installed / "start.py").write_text(USE.format(str(installed)))
    assert "shop/job.py:4 in main" == run(str(installed / "start.py"), folder=installed)


AWAITING: Final = """\
import asyncio
from weakref import finalize
from poolscope.callsites.frames import here
from sqlalchemy.util import greenlet_spawn

async def main():
    return await greenlet_spawn(finalize(main, here))

print(asyncio.run(main()))
"""


def test_an_installed_application_that_awaits_an_async_engine_is_found(installed: Path) -> None:
    start = installed / "shop" / "start.py"
    start.write_text(AWAITING)
    assert "start.py:7 in main" == run(str(start), folder=installed)


class TestOddCode:
    """The call site of unusual code is a short string, too."""

    def test_code_without_a_file(self) -> None:
        names: dict[str, Any] = {"here": here}
        exec("def get():\n    return here()", names)  # noqa: S102 - ours
        assert "<string>:2 in get" == str(names["get"]())
        exec(compile("def get():\n    return here()", "", "exec"), names)  # noqa: S102 - ours
        assert "<unknown>:2 in get" == str(names["get"]())

    def test_code_in_a_zip(self, tmp_path: Path) -> None:
        text = "from poolscope.callsites.frames import here\ndef get():\n    return str(here())\n"
        with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
            archive.writestr("shop/__init__.py", "")
            archive.writestr("shop/cart.py", text)
        program = "import sys; sys.path.insert(0, 'app.zip'); import shop.cart as c; print(c.get())"
        assert "shop/cart.py:3 in get" == run("-c", program, folder=tmp_path)

    def test_a_call_from_c(self) -> None:
        (site,) = map(lambda _: here(), [None])  # noqa: C417 - that is the point
        assert str(site).startswith("test_frames.py:")
        (site,) = itertools.starmap(here, [()])
        assert str(site).startswith("test_frames.py:")

    def test_a_very_long_name(self) -> None:
        name = "f" * 5000
        names: dict[str, Any] = {"here": here, "__name__": "m" * 5000}
        exec(f"def {name}():\n    return here()", names)  # noqa: S102 - ours
        site = names[name]()
        assert len(str(site)) < 3 * MAX_CHARACTERS
        assert len(site.function.label) <= MAX_CHARACTERS

    @pytest.mark.parametrize("odd", ["shop\ud800", "a\nb", "\0", "\U0001f600" * 119])
    def test_any_string_is_a_module(self, odd: str) -> None:
        names: dict[str, Any] = {"here": here, "__name__": odd}
        exec(compile("def get():\n    return here()", "shop\ud800.py", "exec"), names)  # noqa: S102 - ours
        site = names["get"]()
        assert label_value(f"{odd}:get") == site.function.label
        assert printable(str(site)) == str(site)

    def test_a_library_with_deep_recursion(self) -> None:
        names: dict[str, Any] = {"__name__": "sqlalchemy.orm", "here": here}
        exec("def load(n):\n    return load(n - 1) if n else here()", names)  # noqa: S102 - ours
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(20_000)
        try:
            assert "test_frames.py" in str(names["load"](10_000))
        finally:
            sys.setrecursionlimit(before)

    @pytest.mark.makes_hooks_fail
    def test_near_the_recursion_limit_nothing_fails_that_would_not_fail_unwatched(
        self, monkeypatch: pytest.MonkeyPatch, sqlite: Any
    ) -> None:
        monkeypatch.setattr("poolscope.errors.internal_errors", ErrorLog())
        engine = sqlite()
        watch = Watches().watch(engine, registry=None)
        engine.connect().close()

        def descend(left: int) -> None:
            if left:
                descend(left - 1)
            else:
                engine.connect().close()

        failed = []
        limit, depth = sys.getrecursionlimit(), len(inspect.stack())
        for left in range(limit - depth - 60, limit - depth):
            try:
                descend(left)
            except RecursionError:
                failed.append(left)
        # Beyond some depth every call fails, and up to there none does.
        assert failed == list(range(failed[0], limit - depth))
        engine.connect().close()
        assert 0 == watch.snapshot().in_use
