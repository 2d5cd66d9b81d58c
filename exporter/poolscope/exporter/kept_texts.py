"""The texts that are kept for clients which read them slowly: no more than so many bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of all texts but the newest one. Many clients of one rendering share its text."""


class _Text:
    def __init__(self, size: int) -> None:
        self.size = size
        self.readers: dict[object, Callable[[], object]] = {}


class KeptTexts:
    """
    Knows who reads which text, and closes the readers of the oldest ones if there are too many.

    bytes: the size of all texts that are being read.
    """

    def __init__(self) -> None:
        self._texts: dict[int, _Text] = {}
        self._read_by: dict[object, int] = {}
        self.bytes = 0

    def begin(self, reader: object, text: int, size: int, close: Callable[[], object]) -> None:
        """
        Note that a client begins to read; `close` closes its connection.

        text: the same number for those who share one, and as long as it exists for no other.
        """
        self.end(reader)
        if text not in self._texts:
            self._texts[text] = _Text(size)
            self.bytes += size
        self._texts[text].readers[reader] = close
        self._read_by[reader] = text
        for old in list(self._texts):
            if self.bytes - size <= MOST_BYTES:
                return
            if old != text:
                self._close_readers(old)

    def end(self, reader: object) -> None:
        """Note that a client has read its text, or has gone; of another one, nothing is known."""
        text = self._read_by.pop(reader, None)
        if text is not None:
            kept = self._texts[text]
            del kept.readers[reader]
            if not kept.readers:
                del self._texts[text]
                self.bytes -= kept.size

    def _close_readers(self, text: int) -> None:
        for reader, close in list(self._texts[text].readers.items()):
            close()
            self.end(reader)
