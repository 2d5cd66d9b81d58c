"""System calls that fail when a test wants it."""

from __future__ import annotations

import errno
import fcntl
import functools
import os
from collections.abc import Callable
from typing import Any, Final

import pytest

CALLS: Final = (
    *((os, name) for name in ("open", "fstat", "lstat", "pread", "pwrite", "scandir", "utime")),
    *((os, name) for name in ("ftruncate", "fsync", "posix_fallocate", "rename", "replace")),
    *((os, name) for name in ("unlink", "fchmod")),
    (fcntl, "lockf"),
    (fcntl, "fcntl"),
)
"""What poolscope calls on files, but for `os.close`, which does what it should even if it fails."""

_NUMBERS: Final = (
    *(errno.EMFILE, errno.EACCES, errno.EIO),
    *(errno.ENOMEM, errno.ENOSPC, errno.EROFS),
)

ERRORS: Final[dict[str, Callable[[], BaseException]]] = {
    errno.errorcode[number]: functools.partial(OSError, number, os.strerror(number))
    for number in _NUMBERS
}
ERRORS["MemoryError"] = MemoryError


class Failing:
    """
    Counts the calls, and lets one of them, or all from one on, fail.

    number: the call that fails, from 1 on; 0: none does.
    for_good: whether all later ones fail, too.
    short: instead of that, `os.pread` returns half of the data.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.number = 0
        self.for_good = self.short = False
        self.error: Callable[[], BaseException] = OSError
        for module, name in CALLS:
            monkeypatch.setattr(module, name, self._wrap(name, getattr(module, name)))

    def let_fail(
        self, number: int, error: Callable[[], BaseException], for_good: bool = False
    ) -> None:
        self.calls, self.number, self.error, self.for_good = 0, number, error, for_good

    def stop(self) -> None:
        self.calls = self.number = 0
        self.short = False

    def _wrap(self, name: str, function: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.calls += 1
            fails = self.calls == self.number or (self.for_good and 0 < self.number < self.calls)
            if fails and not self.short:
                raise self.error()
            result = function(*args, **options)
            if self.short and fails and name == "pread":
                return result[: len(result) // 2]
            return result

        return call
