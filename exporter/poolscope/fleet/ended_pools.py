"""
The totals of the pools that have ended within one process, in its file NAME.ended.

The process adds pools to them and then removes their files. The file says which pools it includes:
all up to a number, but for those that it lists. So whoever reads the files of the pools first, and
then this one, finds each pool exactly once, whatever the process does meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from poolscope.fleet.pool_view import BadFileError
from poolscope.fleet.segment_reader import UNREADABLE, PoolFile
from poolscope.fleet.totals import DAMAGE, WRONG, Totals, read_json, write_json

ENDED: Final = ".ended"


class EndedPools:
    """
    What the file says.

    totals: the counters of the pools that it includes.
    """

    def __init__(self) -> None:
        self.totals = Totals()
        self._up_to = 0
        self._live: frozenset[int] = frozenset()
        self._seen: tuple[int, ...] = ()

    def has(self, name: str) -> bool:
        """Whether the pool of the file NAME.number.pool is included."""
        number = name.split(".")[1]
        return (
            number.isascii()
            and number.isdigit()
            and int(number) <= self._up_to
            and int(number) not in self._live
        )

    def read(self, path: Path) -> None:
        """
        Read the file if it has changed; without a file, no pool has ended.

        Raises BadFileError if it is damaged, and OSError or MemoryError if it cannot be read now.
        """
        try:
            status = path.lstat()
            seen = status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
            if seen == self._seen:
                return
            document = read_json(path)
        except FileNotFoundError:
            return
        try:
            totals = Totals.of_document(document)
            live = frozenset(map(_count, document["live"]))
            self.totals, self._up_to, self._live = totals, _count(document["up_to"]), live
        except DAMAGE as error:
            raise BadFileError(WRONG) from error
        self._seen = seen

    def with_pools(
        self,
        pid: int,
        pools: Iterable[tuple[int, Path]],
        live: Collection[tuple[str, str]],
    ) -> tuple[Totals, set[int]]:
        """
        Return the totals with more pools, and the numbers of the pools whose files were read.

        A file that is gone or damaged counts as read.
        live: the names and kinds of all other pools of this process; see `Totals.bounded`.
        """
        views, numbers = [], set()
        for number, pool in pools:
            try:
                with suppress(FileNotFoundError, BadFileError):
                    views.append(PoolFile(pool, pid).read(time.monotonic()))
            except UNREADABLE:
                continue
            numbers.add(number)
        return self.totals.with_pools(views).bounded(live), numbers

    def save(
        self, path: Path, up_to: int, live: Iterable[int], totals: Totals | None = None
    ) -> None:
        """
        Replace the file; it has these totals, or the present ones.

        Raises OSError, and then the old file is still there.
        """
        totals = self.totals if totals is None else totals
        document = {**totals.document(), "up_to": up_to, "live": sorted(live)}
        write_json(path, document, sync=False)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(value)
    return value
