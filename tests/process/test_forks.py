"""A process notices that it was forked, with and without the hooks of Python."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Final

import pytest

from poolscope.process.forks import Forks, Mark, ProcessMark, make_mark

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]

MARKS: Final[dict[str, Callable[[], Mark]]] = {"memory": make_mark, "process id": ProcessMark}


@pytest.fixture(params=list(MARKS))
def mark(request: pytest.FixtureRequest) -> Mark:
    """A mark that is set."""
    mark: Mark = MARKS[request.param]()
    mark[0] = 1
    return mark


class Follower:
    """Notes what it is told; `during` is called while it is told."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self.told: list[str] = []
        self.during = during

    def forked(self) -> None:
        self.told.append("forked")
        self.during()

    def has_forked(self) -> None:
        self.told.append("has forked")


def in_a_child(check: Callable[[], bool]) -> bool:
    """
    Run a check in a child, and return whether it passes.

    Python's hooks know nothing of the objects of these tests, so that a fork of Python's is to
    them what a fork from C is; and in a process with other threads, only a child of Python's
    own fork can run on (that of C waits for ever for a thread that asked for the interpreter).
    """
    child = os.fork()
    if child == 0:
        try:
            passed = check()
        except BaseException:
            passed = False
        os._exit(0 if passed else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_mark_is_lost_in_a_child_and_in_the_child_of_one_that_has_set_it(mark: Mark) -> None:
    def lost() -> bool:
        return not mark[0]

    def lost_again() -> bool:
        mark[0] = 1
        return bool(mark[0]) and in_a_child(lost)

    assert mark[0]
    assert in_a_child(lost)
    assert in_a_child(lost_again)
    assert mark[0]


def test_a_child_is_followed_once(mark: Mark) -> None:
    forks, follower, parent = Forks(mark), Follower(), os.getpid()
    forks.add(follower)

    def followed() -> bool:
        forks.follow()
        forks.follow()
        return follower.told == ["forked"] and forks.parent == parent and bool(mark[0])

    forks.follow()
    assert ([], 0) == (follower.told, forks.parent)
    assert in_a_child(followed)
    assert in_a_child(lambda: followed() and in_a_child(lambda: len(follower.told) == 1))
    assert [] == follower.told


def test_a_finalizer_that_runs_meanwhile_does_not_follow_again(mark: Mark) -> None:
    forks = Forks(mark)
    follower = Follower(during=forks.follow)
    forks.add(follower)

    def followed() -> bool:
        forks.follow()
        return follower.told == ["forked"]

    assert in_a_child(followed)


def test_an_inherited_lock_does_not_matter(mark: Mark) -> None:
    forks, follower = Forks(mark), Follower()
    forks.add(follower)
    held, end = threading.Event(), threading.Event()

    def hold() -> None:
        with forks._locks.setdefault(os.getpid(), threading.RLock()):
            held.set()
            end.wait()

    def followed() -> bool:
        forks.follow()
        return follower.told == ["forked"]

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    assert in_a_child(followed)
    end.set()
    thread.join()


@pytest.mark.makes_hooks_fail
def test_a_follower_that_fails_does_not_keep_others_from_being_told(mark: Mark) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    forks, followers = Forks(mark), [Follower(fail), Follower(fail)]
    for follower in followers:
        forks.add(follower)

    def followed() -> bool:
        forks.follow()
        return [["forked"], ["forked"]] == [follower.told for follower in followers]

    assert in_a_child(followed)


def test_a_parent_is_told_that_it_has_forked(mark: Mark) -> None:
    forks, follower = Forks(mark), Follower()
    forks.add(follower)
    forks.has_forked()
    assert ["has forked"] == follower.told


def test_the_hook_of_uwsgi_follows_and_calls_the_one_before(
    mark: Mark, monkeypatch: pytest.MonkeyPatch
) -> None:
    uwsgi, called = ModuleType("uwsgi"), list[str]()
    vars(uwsgi)["post_fork_hook"] = lambda: called.append("the application's")
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    monkeypatch.setattr(os, "register_at_fork", lambda **_: None)
    forks, follower = Forks(mark), Follower()
    forks.add(follower)
    forks.hook()

    def hooked() -> bool:
        vars(uwsgi)["post_fork_hook"]()
        return (follower.told, called) == (["forked"], ["the application's"])

    assert in_a_child(hooked)
