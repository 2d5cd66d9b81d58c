"""How `make peers` compares a library's own tests, unwatched and watched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripts.peers import watch_all
from scripts.peers.compare import (
    Difference,
    Result,
    Review,
    Run,
    as_toml,
    differences,
    read_expected,
    read_run,
    review,
)

ROOT = Path(__file__).parent.parent
PASSED = Result("passed")
FAILED = Result("failed", message="AssertionError")


def run(**results: Result) -> Run:
    return Run(results)


@pytest.mark.parametrize("outcome", ["passed", "failed", "error", "skipped", "xfailed"])
def test_a_test_that_ends_the_same_is_no_difference(outcome: str) -> None:
    result = Result(outcome)
    assert [] == differences(run(a=result), run(a=result))


def test_the_message_of_a_failure_is_no_difference() -> None:
    assert [] == differences(run(a=FAILED), run(a=Result("failed", message="KeyError")))


def test_each_other_outcome_is_a_difference() -> None:
    unwatched = run(a=PASSED, b=PASSED, c=Result("skipped"), d=FAILED)
    watched = run(a=PASSED, b=FAILED, c=PASSED, d=PASSED)
    expected = [
        Difference("b", "passed -> failed"),
        Difference("c", "skipped -> passed"),
        Difference("d", "failed -> passed"),
    ]
    assert expected == differences(unwatched, watched)


def test_a_test_that_runs_in_one_run_only_is_a_difference() -> None:
    expected = [Difference("a", "passed -> absent"), Difference("b", "absent -> passed")]
    assert expected == differences(run(a=PASSED), run(b=PASSED))


def test_an_internal_error_is_a_difference_although_the_test_passes() -> None:
    watched = run(a=Result("passed", ("Pool.b", "Pool.a", "Pool.a")))
    expected = [Difference("a", "internal error in Pool.a, internal error in Pool.b")]
    assert expected == differences(run(a=PASSED), watched)


def test_an_internal_error_is_told_beside_the_outcome() -> None:
    watched = run(a=Result("failed", ("Pool.a",)))
    expected = [Difference("a", "passed -> failed, internal error in Pool.a")]
    assert expected == differences(run(a=PASSED), watched)


def test_a_review_sorts_the_differences() -> None:
    known, new = Difference("a", "passed -> failed"), Difference("b", "passed -> failed")
    gone = Difference("c", "passed -> error")
    expected = Review({known: "a mock"}, (new,), (gone,))
    assert expected == review([known, new], {known: "a mock", gone: "another mock"})
    assert not expected.is_as_expected


def test_a_known_test_that_changes_in_another_way_is_not_explained() -> None:
    found, named = Difference("a", "passed -> error"), Difference("a", "passed -> failed")
    assert Review({}, (found,), (named,)) == review([found], {named: "a mock"})


@pytest.mark.parametrize(
    ("verdict", "is_as_expected"),
    [
        (Review(), True),
        (Review({Difference("a", "passed -> failed"): "a mock"}), True),
        (Review(unexplained=(Difference("a", "passed -> failed"),)), False),
        (Review(gone=(Difference("a", "passed -> failed"),)), False),
    ],
)
def test_a_difference_is_named_if_and_only_if_it_occurs(
    verdict: Review, is_as_expected: bool
) -> None:
    assert is_as_expected == verdict.is_as_expected


def test_the_list_that_is_written_can_be_reviewed_and_read(tmp_path: Path) -> None:
    path = tmp_path / "expected.toml"
    reasons = {
        Difference('tests/a.py::test_a["b"\\n]', "passed -> failed"): "It replaces `_x`\tby ü.",
        Difference("tests/a.py::test_b", "passed -> error"): "Another.",
    }
    path.write_text(as_toml("aiohttp", reasons))
    assert reasons == read_expected(path, "aiohttp")
    assert {} == read_expected(path, "asyncpg")


@pytest.mark.parametrize("reason", ["", "  "])
def test_each_difference_needs_a_reason(tmp_path: Path, reason: str) -> None:
    path = tmp_path / "expected.toml"
    path.write_text(as_toml("aiohttp", {Difference("a", "passed -> failed"): reason}))
    with pytest.raises(ValueError, match="a has no reason"):
        read_expected(path, "aiohttp")


def test_each_difference_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "expected.toml"
    path.write_text(as_toml("aiohttp", {Difference("a", "passed -> failed"): "A mock."}) * 2)
    with pytest.raises(ValueError, match="a is named twice"):
        read_expected(path, "aiohttp")


@pytest.mark.parametrize("suite", ["sqlalchemy", "asyncpg", "aiohttp"])
def test_the_reviewed_file_is_valid(suite: str) -> None:
    read_expected(ROOT / "scripts" / "peers" / "expected.toml", suite)


SUITE = """
import unittest, pytest

def test_passes(): ...
def test_fails(): assert 1 == 2
def test_skips(): pytest.skip()
@pytest.mark.xfail
def test_xfails(): assert 1 == 2
@pytest.fixture
def broken(): raise KeyError
def test_setup_fails(broken): ...
@pytest.fixture
def breaks():
    yield
    raise KeyError
def test_teardown_fails(breaks): ...
class Test(unittest.TestCase):
    def test_subtest_fails(self):
        with self.subTest("one"):
            assert 1 == 2
        with self.subTest("two"):
            pass
"""


def test_a_run_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SUITE)
    # The folder may lie inside of this project, whose settings are not the subject.
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    report = tmp_path / "report.json"
    command = [sys.executable, "-P", "-m", "pytest", "-p", "scripts.peers.record"]
    # No plugins of this environment, as their options and warnings are not the subject.
    environment = {
        "PYTHONPATH": str(ROOT),
        "PEERS_REPORT": str(report),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    finished = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert 1 == finished.returncode, finished.stdout + finished.stderr
    outcomes = {test: result.outcome for test, result in read_run(report).results.items()}
    expected = {
        "test_it.py::test_passes": "passed",
        "test_it.py::test_fails": "failed",
        "test_it.py::test_skips": "skipped",
        "test_it.py::test_xfails": "xfailed",
        "test_it.py::test_setup_fails": "error",
        "test_it.py::test_teardown_fails": "error",
        "test_it.py::Test::test_subtest_fails": "failed",
    }
    assert expected == outcomes


def test_a_report_without_tests_is_an_empty_run(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"tests": {}, "pools": 3, "acquires": 5}))
    assert Run({}, pools=3, acquires=5) == read_run(path)


def parameters(function: Any) -> tuple[str, ...]:
    """Return the names of the parameters as SQLAlchemy reads them: from the code."""
    code = function.__code__
    return tuple(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


def test_each_object_is_watched_once_when_it_is_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Pool:
        def __init__(self, size: int, *args: int, limit: int = 5, **options: int) -> None:
            self.all = (size, args, limit, options)

    class Inherits(Pool):
        """Its `__init__` is that of Pool."""

    before = parameters(Pool.__init__)
    watched: list[object] = []
    monkeypatch.setattr(watch_all, "watch", watched.append)
    watch_all.watch_new_objects(Pool, lambda made, caller: caller.f_code.co_name == "recreate")

    class Extends(Pool):
        def __init__(self) -> None:
            super().__init__(1, 2, limit=3, other=4)
            assert self not in watched

    def recreate() -> Pool:
        return Pool(1)

    made = [Pool(7), Inherits(8, 9, limit=1), Extends()]
    recreate()
    assert made == watched
    assert [(7, (), 5, {}), (8, (9,), 1, {}), (1, (2,), 3, {"other": 4})] == [p.all for p in made]
    assert before == parameters(Pool.__init__)


def test_an_object_that_cannot_be_made_is_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        def __init__(self, *, size: int) -> None:
            raise KeyError(size)

    watched: list[object] = []
    monkeypatch.setattr(watch_all, "watch", watched.append)
    watch_all.watch_new_objects(Pool, lambda made, caller: False)
    with pytest.raises(KeyError):
        Pool(size=1)
    with pytest.raises(TypeError):
        Pool()  # type: ignore[call-arg] # it is missing, as without a watch
    assert [] == watched
