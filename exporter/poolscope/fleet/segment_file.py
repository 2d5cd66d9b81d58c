"""
A segment in a file that the exporter reads.

The file has four parts:

    header      magic, sizes, and the description of the pool as JSON; written once
    cells       float64, as `ledger.cells` lays them out
    owners      the name of the task or thread, and the trace, of the hold in each slot
    texts       lines of code, functions and findings, in the order of their first use

The file gets its name when it is complete. It is never replaced, and its size never changes.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import setitem
from pathlib import Path
from typing import Any, Final, TypeAlias

from poolscope.callsites.borrower import Borrower
from poolscope.callsites.frames import Site
from poolscope.callsites.operations import raise_if_from_outside
from poolscope.callsites.traces import tracers
from poolscope.errors import harmless
from poolscope.label_values import label_value
from poolscope.ledger import cells as c
from poolscope.ledger.cells import HOLD_OPERATION
from poolscope.ledger.changes import perform
from poolscope.ledger.segment import Segment
from poolscope.process.off_loop import off_loop
from poolscope.readings.evidence import Line

MAGIC: Final = b"poolscop"

SEGMENT_VERSION: Final = 7

HEAD: Final = struct.Struct("<8sIIIIII")
"""Magic, version, number of scalar cells, hold slots, start of cells, size, length of the JSON."""

NAME_BYTES: Final = 40
TRACE_BYTES: Final = 16

OWNER: Final = struct.Struct(f"{NAME_BYTES}s{TRACE_BYTES}s")
"""
A name, of which what is too long is cut off and a short one is filled up with zeros, and the id of
a trace, or zeros.
"""

OWNER_BYTES: Final = OWNER.size

TEXT_BYTES: Final = 40_960

LENGTH: Final = struct.Struct("<H")

MAX_KNOWN_LINES: Final = 1000
MAX_KNOWN_OPERATIONS: Final = 1000
"""How many lines of code, and operations, keep the numbers of their texts in memory."""

_PAGE: Final = 4096

Parts: TypeAlias = "tuple[memoryview[int], memoryview[float], memoryview[int], memoryview[int]]"
"""The memory of a file: all of it, its cells, its owners and its texts."""


class FileSegment(Segment):
    """
    Cells in a new file at `path`, whose header describes the pool by `facts`. Raises OSError.

    over: whether nothing is recorded in the file any more.
    look: called from time to time, with this segment, to see whether the file is still there.
    """

    shared = True
    wait_slots = range(c.FIRST_EXEMPLAR - 1, c.FIRST_WAIT - 1, -1)

    def __init__(
        self,
        path: Path,
        slots: int,
        facts: Mapping[str, Any],
        look: Callable[[FileSegment], None] | None = None,
    ) -> None:
        self.path: Final = path
        self.over = False
        self._facts = facts
        self._slots = slots
        self._look = look
        self._numbers: dict[object, int] = {}
        # The numbers of operations, by the names that they give.
        self._operations: dict[str | None, int] = {None: 0}
        self._lines: dict[tuple[object, object], tuple[int, int]] = {(None, 0): (0, 0)}
        self._used = 0
        self._memory, cells, self._owners, self._texts = self._create(slots)
        super().__init__(slots, cells)
        end = c.size(slots)
        self.free = list(range(end - c.HOLD_CELLS, c.FIRST_HOLD - 1, -c.HOLD_CELLS))
        self.borrowers = dict.fromkeys(self.free, ())

    @property
    def key(self) -> tuple[str, str]:
        """The name of its pool, and the kind."""
        return self._facts["pool"], self._facts["kind"]

    def _create(self, slots: int, before: Callable[[Parts], object] | None = None) -> Parts:
        """
        Create the file, and return its parts.

        before: called with them before the file gets its name.
        """
        description = json.dumps(self._facts).encode()
        start = -(-(HEAD.size + len(description)) // _PAGE) * _PAGE
        size = start + 8 * c.size(slots) + OWNER_BYTES * slots + TEXT_BYTES
        hidden = self.path.with_name(f".{self.path.name}")
        file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Without the reservation, a full disk would kill the process with SIGBUS later.
            os.posix_fallocate(file, 0, size)
            memory = memoryview(mmap.mmap(file, size))
            head = HEAD.pack(
                MAGIC, SEGMENT_VERSION, c.SCALARS, slots, start, size, len(description)
            )
            memory[: HEAD.size + len(description)] = head + description
            parts = _parts(memory, start, slots)
            if before is not None:
                before(parts)
            # Whoever makes it shorter would kill this process with SIGBUS.
            os.fchmod(file, 0o400)
            hidden.rename(self.path)
        except BaseException:
            hidden.unlink()
            raise
        finally:
            os.close(file)
        return parts

    def _move(self, parts: Parts) -> None:
        """
        Copy all to other memory, and use that.

        In one step: the hot path of other threads writes to the cells meanwhile.
        """
        memory, cells, owners, texts = parts
        perform(
            (
                (setitem, memory, slice(None), self._memory),
                (setattr, self, "_memory", memory),
                (setattr, self, "cells", cells),
                (setattr, self, "_owners", owners),
                (setattr, self, "_texts", texts),
            )
        )

    def remake(self) -> None:
        """Make the file, which somebody has removed, again. Raises OSError."""
        self._create(self._slots, self._move)

    def detach(self) -> None:
        """Leave the file, and so give its map and descriptor back; it goes on in private memory."""
        self.over = True
        memory = memoryview(bytearray(len(self._memory)))
        start = len(memory) - len(self._texts) - len(self._owners) - 8 * c.size(self._slots)
        self._move(_parts(memory, start, self._slots))

    @harmless
    def look(self) -> None:
        self.due = False
        if self._look is not None:
            self._look(self)

    def end(self) -> None:
        self.over = True

    @property
    def spent(self) -> bool:
        """Whether the pool was used, was closed, and has no connection and no caller any more."""
        cells = self.cells
        return bool(
            cells[c.LIMIT] != cells[c.LIMIT]  # NaN
            and cells[c.OPENED]
            and cells[c.OPENED] == cells[c.CLOSED]
            and not (cells[c.OPENING] or cells[c.WAITING])
        )

    def take_slot(self, borrower: Sequence[Any]) -> int:
        slot, operation = 0, borrower[4]
        try:
            slot = self.free.pop()
            if operation is not None:
                self.cells[slot + HOLD_OPERATION] = self._operations[operation.name()]
                if self.borrowers[slot] == borrower[:4] and not tracers:
                    return slot
                if self.set_borrower(slot, borrower):
                    return slot
            elif self.borrowers[slot] == borrower or self.set_borrower(slot, borrower):
                return slot
        except LookupError:  # there is no free slot, or the name must be registered
            pass
        except BaseException as error:
            if slot:
                self.give_back(slot)
            if operation is None or not isinstance(error, Exception):
                raise
            raise_if_from_outside(error, operation)
            return 0
        if slot:
            self.give_back(slot)
        return 0

    @harmless
    def discard(self) -> None:
        """Remove the file: the pool was not watched after all, or not under this name."""
        off_loop(partial(self.path.unlink, missing_ok=True))

    def set_borrower(self, slot: int, borrower: Sequence[Any]) -> bool:
        function, at, _, owner, operation, *traces = borrower
        numbers = self._lines.get((function, at))
        if numbers is None:
            return False
        cells, start = self.cells, (slot - c.FIRST_HOLD) // c.HOLD_CELLS * OWNER_BYTES
        cells[slot + c.HOLD_SITE], cells[slot + c.HOLD_LABEL] = numbers
        trace = traces[0].number.to_bytes(TRACE_BYTES, "big") if any(traces) else b""
        OWNER.pack_into(self._owners, start, _bytes(owner), trace)
        # Not an operation, which would live until the slot has another borrower.
        self.borrowers[slot] = borrower if operation is None else borrower[:4]
        return True

    def register_borrower(self, borrower: Borrower, label: str) -> None:
        if len(self._lines) >= MAX_KNOWN_LINES:
            self._lines = {(None, 0): (0, 0)}
        line = self._number(borrower.site)
        self._lines[borrower.function, borrower.at] = line, self._number(label)

    def give_back(self, slot: int) -> None:
        self.cells[slot + HOLD_OPERATION] = 0.0
        self.free.append(slot)

    def operation_number(self, name: str) -> int | None:
        return self._operations.get(name)

    def register_operation(self, name: str, label: str) -> int:
        if len(self._operations) > MAX_KNOWN_OPERATIONS:
            self._operations = {None: 0}
        number = self._number(label_value(name)) or self._number(label)
        self._operations[name] = number
        return number

    def number_of_line(self, site: Site) -> int:
        return self._number(site)

    def add_label(self, cell: int, label: str, width: int, number: int) -> None:
        self.numbers[cell + number] = self._number(label)

    def add_evidence(self, rule: str, site: Line | None) -> None:
        self._number((rule, site), f"{rule}\t{site if site is not None else ''}")

    def _number(self, key: object, text: str | None = None) -> int:
        """
        Return the number of a text, which is `key` itself by default; write it if it is new.

        Returns 0 if `key` is None or if there is no room.
        """
        if key is None:
            return 0
        number = self._numbers.get(key)
        if number is None:
            encoded = _bytes(str(key) if text is None else text)[:1000]
            end = self._used + LENGTH.size + len(encoded)
            if end > TEXT_BYTES:
                return 0
            self._texts[self._used : end] = LENGTH.pack(len(encoded)) + encoded
            # Together, because an exception may interrupt this; the count comes after the text, so
            # that a reader finds complete texts only.
            number = len(self._numbers) + 1
            perform(
                (
                    (setitem, self.cells, c.TEXT_COUNT, number),
                    (setattr, self, "_used", end),
                    (setitem, self._numbers, key, number),
                )
            )
        return number


def _parts(memory: memoryview[int], start: int, slots: int) -> Parts:
    """Return the parts of the memory of a file whose cells begin at `start`."""
    owners = start + 8 * c.size(slots)
    texts = owners + OWNER_BYTES * slots
    return memory, memory[start:owners].cast("d"), memory[owners:texts], memory[texts:]


def _bytes(name: str) -> bytes:
    # A name in Python may contain surrogates, which UTF-8 cannot encode.
    return name.encode(errors="backslashreplace")
