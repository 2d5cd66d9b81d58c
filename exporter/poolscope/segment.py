"""
Where a ledger lives: in memory of this process alone, or in a file that other processes map.

The file has a header that is written once, the cells, and the names that go with them:

    page 0...   magic, sizes, and what the pool is, as JSON
    cells       float64, as `cells` lays them out
    owners      for each hold slot, the name of the task or thread
    texts       lines of code, functions and findings, in the order in which they were first seen

A file is never changed in size or replaced, and is complete when it has its name.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from poolscope import cells as c
from poolscope.holders import Who
from poolscope.sites import Site

MAGIC: Final = b"poolscop"
VERSION: Final = 1
HEAD: Final = struct.Struct("<8sIIIIII")
"""Magic, version, cells of the layout, hold slots, start of the cells, size, length of the JSON."""

OWNER_BYTES: Final = 40
TEXT_BYTES: Final = 32_768
LENGTH: Final = struct.Struct("<H")
_PAGE: Final = 4096


class Segment:
    """Cells in private memory, all 0.0 at first; nobody else reads them, so names are not kept."""

    def __init__(self, slots: int) -> None:
        self.cells = self._cells(slots)

    def _cells(self, slots: int) -> memoryview[float]:
        return memoryview(bytearray(8 * c.size(slots))).cast("d")

    def held(self, slot: int, who: Who | None) -> None:
        """The hold whose first cell is `slot` has begun, with whom."""

    def summed(self, number: int, label: str, sums: list[float]) -> None:
        """A function has this out, and has had that many seconds, since then."""

    def sighted(self, rule: str, site: Site | None) -> None:
        """A rule was seen to be broken at a line."""

    @property
    def shared(self) -> bool:
        """Whether others read it, who must be told while it changes."""
        return False


class FileSegment(Segment):
    """Cells in a new file at `path`, whose header says `facts`; raises OSError."""

    def __init__(self, path: Path, slots: int, facts: Mapping[str, Any]) -> None:
        self.path: Final = path
        self._facts = facts
        self._numbers: dict[object, int] = {}
        self._used = 0
        super().__init__(slots)

    @property
    def shared(self) -> bool:
        return True

    def _cells(self, slots: int) -> memoryview[float]:
        about = json.dumps(self._facts).encode()
        start = -(-(HEAD.size + len(about)) // _PAGE) * _PAGE
        owners = start + 8 * c.size(slots)
        texts = owners + OWNER_BYTES * slots
        size = texts + TEXT_BYTES
        hidden = self.path.with_name(f".{self.path.name}")
        file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Reserved now: a disk that is full later must not end the process by a signal.
            os.posix_fallocate(file, 0, size)
            memory = memoryview(mmap.mmap(file, size))
            head = HEAD.pack(MAGIC, VERSION, c.SCALARS, slots, start, size, len(about))
            memory[: HEAD.size + len(about)] = head + about
            hidden.rename(self.path)
        except BaseException:
            hidden.unlink()
            raise
        finally:
            os.close(file)
        self._owners = memory[owners:texts]
        self._texts = memory[texts:]
        return memory[start:owners].cast("d")

    def held(self, slot: int, who: Who | None) -> None:
        self.cells[slot + c.HOLD_SITE] = self._number(who.site) if who is not None else 0
        self.cells[slot + c.HOLD_LABEL] = self._number(who.label) if who is not None else 0
        owner = _bytes(who.owner)[:OWNER_BYTES] if who is not None else b""
        start = (slot - c.FIRST_HOLD) // c.HOLD_CELLS * OWNER_BYTES
        self._owners[start : start + OWNER_BYTES] = owner.ljust(OWNER_BYTES, b"\0")

    def summed(self, number: int, label: str, sums: list[float]) -> None:
        start = c.FIRST_SITE + number * c.SITE_CELLS
        # In this order no reader finds less than before, should the process end in between.
        self.cells[start + 2] = sums[1]
        self.cells[start + 3] = sums[2]
        self.cells[start + 1] = sums[0]
        self.cells[start] = self._number(label)

    def sighted(self, rule: str, site: Site | None) -> None:
        self._number((rule, site), f"{rule}\t{site if site is not None else ''}")

    def _number(self, what: object, text: str | None = None) -> int:
        """Return the number of a text, which is written when it is new; 0 if there is no room."""
        if what is None:
            return 0
        number = self._numbers.get(what)
        if number is None:
            written = _bytes(str(what) if text is None else text)[:1000]
            end = self._used + LENGTH.size + len(written)
            if end > TEXT_BYTES:
                return 0
            self._texts[self._used : end] = LENGTH.pack(len(written)) + written
            self._used = end
            number = self._numbers[what] = len(self._numbers) + 1
            # Last, so that a reader finds whole texts only.
            self.cells[c.TEXTS] = number
        return number


def _bytes(name: str) -> bytes:
    # Python's names may have what UTF-8 has not.
    return name.encode(errors="backslashreplace")


Segments = Callable[[int], Segment]
"""Makes a segment with that many hold slots."""
