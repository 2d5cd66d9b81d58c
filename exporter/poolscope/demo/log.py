"""What the workers log, for the end of the demo."""

from __future__ import annotations

from typing import Final

KEPT_LINES: Final = 6


class LogTail:
    """The last lines, one of each kind: the workers log the same again and again."""

    def __init__(self) -> None:
        self._lines: dict[str, str] = {}

    def add(self, line: str) -> None:
        kind = line.partition(";")[0]  # numbers and lines of code follow
        self._lines.pop(kind, None)
        self._lines[kind] = line
        if len(self._lines) > KEPT_LINES:
            del self._lines[next(iter(self._lines))]

    def lines(self) -> list[str]:
        return list(self._lines.values())
