"""How a site is named whose code is in no file, or whose frames know only their line."""

from __future__ import annotations

import doctest
import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any, Final

import pytest

from poolscope.callsites import paths
from poolscope.callsites.frames import find_place, here, site_of
from poolscope.label_values import MAX_CHARACTERS
from support.layouts import run

KERNEL: Final = "/tmp/ipykernel_7"  # noqa: S108 - as ipykernel names it; no file is there

GET: Final = "def get():\n    return here()\n"


def code_of(text: str, file: str) -> Callable[[], Any]:
    """Return the function `get` of a text that is typed in, by the name that its code has."""
    names: dict[str, Any] = {"__name__": "__main__", "here": here}
    exec(compile(text, file, "exec"), names)  # noqa: S102 - ours
    get: Callable[[], Any] = names["get"]
    return get


class Cells:
    """What IPython's compiler has: the cells by the name of their code."""

    def __init__(self, **numbers: int) -> None:
        self.numbers = numbers

    def format_code_name(self, name: str) -> tuple[str, str] | None:
        number = self.numbers.get(Path(name).stem)
        return ("Cell", f"In[{number}]") if number is not None else None


def use_ipython(monkeypatch: pytest.MonkeyPatch, shell: Any) -> None:
    ipython = ModuleType("IPython")
    vars(ipython)["get_ipython"] = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", ipython)


def test_a_cell_of_a_notebook_is_called_as_in_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    use_ipython(monkeypatch, SimpleNamespace(compile=Cells(**{"15529473": 3})))
    assert "Cell In[3], line 2 in get" == str(code_of(GET, f"{KERNEL}/15529473.py")())
    assert "44.py:2 in get" == str(code_of(GET, f"{KERNEL}/44.py")())


@pytest.mark.parametrize(
    "shell", [None, SimpleNamespace(), SimpleNamespace(compile=compile), SimpleNamespace(compile=0)]
)
def test_another_version_of_ipython_changes_no_name(
    monkeypatch: pytest.MonkeyPatch, shell: Any
) -> None:
    use_ipython(monkeypatch, shell)
    assert "15529473.py:2 in get" == str(code_of(GET, f"{KERNEL}/15529473.py")())


@pytest.mark.parametrize(
    "name", ["<stdin>", "<console>", "<python-input-3>", "<ipython-input-3-7a>", "<stdin-0>"]
)
def test_code_that_is_typed_in_has_the_name_that_tracebacks_have(name: str) -> None:
    assert f"{name}:2 in get" == str(code_of(GET, name)())


def test_code_of_a_docstring_has_the_name_that_tracebacks_have(tmp_path: Path) -> None:
    found: list[str] = []
    text = ">>> 1 + 1\n2\n>>> found.append(str(here()))\n"
    names = {"__name__": __name__, "here": here, "found": found}
    example = doctest.DocTestParser().get_doctest(text, names, "shop.cart", None, None)
    assert 0 == doctest.DocTestRunner().run(example).failed
    assert ["<doctest shop.cart[1]>:1 in <module>"] == found


def test_a_program_on_the_command_line_and_from_standard_input(tmp_path: Path) -> None:
    program = "from poolscope.callsites.frames import here\nprint(here())\n"
    assert "<string>:2 in <module>" == run(tmp_path, "-c", program)
    assert "<stdin>:2 in <module>" == run(tmp_path, "-", stdin=program)


SPAWN: Final = """\
import multiprocessing
from poolscope.callsites.frames import here

def ask():
    print(here(), here().function.label, flush=True)

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=ask)
    child.start()
    child.join()
"""


@pytest.mark.parametrize("command", [("start.py",), ("-m", "start")])
def test_the_main_program_in_a_process_that_it_has_spawned(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "start.py").write_text(SPAWN)
    assert "start.py:5 in ask start:ask" == run(tmp_path, *command)


ENDED: Final = """\
import threading
from poolscope.callsites.frames import here

def ask():
    main.join()
    print(here().function.label, flush=True)

main = threading.main_thread()
threading.Thread(target=ask).start()
"""


def test_the_main_program_after_its_last_line(tmp_path: Path) -> None:
    # CPython takes `__file__` away from it; its threads go on.
    (tmp_path / "start.py").write_text(ENDED)
    assert "start:ask" == run(tmp_path, "start.py")


class TestFramesOfACompiler:
    """They know the line that they execute, but not the bytecode."""

    @staticmethod
    def frame(code: CodeType, **changes: Any) -> Any:
        names = {"__name__": "shop", "__file__": "/srv/shop.py"}
        usual = {"f_code": code, "f_lasti": -1, "f_globals": names, "f_back": None}
        return SimpleNamespace(**{**usual, **changes})

    @pytest.fixture
    def code(self) -> CodeType:
        text = "\n" * 40 + GET
        return code_of(text, "/srv/shop.py").__code__

    def test_the_line_is_that_of_the_call(self, code: CodeType) -> None:
        names = {"__name__": "shop", "__file__": "/srv/shop.py", "__compiled__": object()}
        for line in (45, 47):
            place = find_place(self.frame(code, f_globals=names, f_lineno=line))
            assert f"shop.py:{line} in get" == str(site_of(place))
            function = place[0]
            assert function is not None
            assert (True, False) == (function.is_application, function.is_site)

    def test_it_is_also_where_nothing_says_that_the_module_is_compiled(
        self, code: CodeType
    ) -> None:
        at = max(start for start, _, line in code.co_lines() if line == 42)
        place = find_place(self.frame(code, f_lasti=at, f_lineno=57))
        assert "shop.py:57 in get" == str(site_of(place))

    def test_an_ordinary_frame_has_the_line_of_its_bytecode(self, code: CodeType) -> None:
        at = max(start for start, _, line in code.co_lines() if line == 42)
        place = find_place(self.frame(code, f_lasti=at, f_lineno=42))
        assert "shop.py:42 in get" == str(site_of(place))
        assert place[1] == at


def test_the_parts_of_a_site_are_joined_as_tracebacks_join_them() -> None:
    assert (":", ", line ") == (paths.separator("shop/cart.py"), paths.separator("Cell In[3]"))
    assert 120 == MAX_CHARACTERS
