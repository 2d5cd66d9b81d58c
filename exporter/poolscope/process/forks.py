"""
Notices that this process is a forked child, whoever forked it.

Python's own forks run the hooks of `os.register_at_fork`. A fork in C, as by uWSGI, runs none. So
there is a mark, which is lost in each child: a page of memory that the kernel fills with zeros
there. Whoever records or reads looks at the mark first, and calls `follow` if it is lost.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final, Protocol

from poolscope.errors import harmless

WIPE_ON_FORK: Final = 18
"""`MADV_WIPEONFORK` of Linux 4.14, which the module `mmap` does not name."""

PATIENCE: Final = 0.1
"""
Seconds that a thread waits while another one follows the fork, which takes a millisecond. It does
not wait for ever, because it may hold a lock of a pool that a finalizer in the other one needs.
"""


class Mark(Protocol):
    """`mark[0]` is 1 in the process that has set it, and 0 in its children."""

    def __getitem__(self, place: int, /) -> int: ...
    def __setitem__(self, place: int, value: int, /) -> None: ...


class Follower(Protocol):
    """What has numbers that a child must not continue."""

    def forked(self) -> None:
        """This process is the child of another one."""

    def has_forked(self) -> None:
        """This process has a child."""


class ProcessMark:
    """A mark that compares the process id, for systems that cannot wipe memory."""

    __slots__ = ("_pid",)

    def __init__(self) -> None:
        self._pid = 0

    def __getitem__(self, _: int, /) -> int:
        return int(self._pid == os.getpid())

    def __setitem__(self, _: int, value: int, /) -> None:
        self._pid = os.getpid() if value else 0


def make_mark() -> Mark:
    """Return a mark that is set."""
    mark: Mark
    if not hasattr(os, "fork"):
        return bytearray(b"\1")
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(WIPE_ON_FORK)
        mark = memoryview(page)  # read in half the time
    except (AttributeError, OSError, TypeError, ValueError):  # not Linux, or an old one
        mark = ProcessMark()
    mark[0] = 1
    return mark


class Forks:
    """
    Tells its followers of forks.

    mark: whether this process has followed the fork that made it.
    parent: the id of the process that had followed before; 0 if there is none.
    """

    def __init__(self, mark: Mark | None = None) -> None:
        self.mark: Final = make_mark() if mark is None else mark
        self.parent = 0
        self._process = os.getpid()
        # By process, because a lock that is inherited may be locked for ever.
        self._locks: dict[int, threading.RLock] = {}
        self._following = 0
        self._followers: weakref.WeakSet[Follower] = weakref.WeakSet()

    def add(self, follower: Follower) -> None:
        """Tell the follower of each fork from now on, as long as it exists."""
        self._followers.add(follower)

    def follow(self) -> None:
        """
        If this process is a child that has not been followed yet, tell all followers.

        Only if that takes another thread too long, or if this call has interrupted it on its own
        thread, the mark is still lost afterwards: then what is to be recorded is of the parent.
        """
        if self.mark[0]:
            return
        process = os.getpid()
        lock = self._locks.setdefault(process, threading.RLock())
        if not lock.acquire(timeout=PATIENCE):
            return
        try:
            if not self.mark[0] and self._following != process:
                self._following = process
                self._follow(process)
        finally:
            lock.release()

    def _follow(self, process: int) -> None:
        self.parent, self._process = self._process, process
        try:
            for follower in list(self._followers):
                _forked(follower)
        finally:
            self._locks = {process: self._locks[process]}
            self.mark[0] = 1

    def has_forked(self) -> None:
        """Tell all followers that this process has a child."""
        for follower in list(self._followers):
            _has_forked(follower)

    def hook(self) -> None:
        """Notice forks as early as possible: those of Python, and those of uWSGI's master."""
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_parent=self.has_forked, after_in_child=self.follow)
        uwsgi: Any = sys.modules.get("uwsgi")
        if uwsgi is not None:
            uwsgi.post_fork_hook = self._before(getattr(uwsgi, "post_fork_hook", None))

    def _before(self, other: Callable[[], object] | None) -> Callable[[], None]:
        def post_fork_hook() -> None:
            self.follow()
            if other is not None:
                other()

        return post_fork_hook


@harmless
def _forked(follower: Follower) -> None:
    follower.forked()


@harmless
def _has_forked(follower: Follower) -> None:
    follower.has_forked()


_forks: list[Forks] = []


def forks() -> Forks:
    """Return the forks of this process; the first call begins to notice them."""
    if not _forks:
        _forks.append(Forks())
        _forks[0].hook()
    return _forks[0]
