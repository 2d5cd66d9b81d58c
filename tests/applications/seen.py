"""What operations a service saw while it handled requests."""

from __future__ import annotations

from typing import Final

from poolscope.callsites.operations import Operation, current_operation


class Seen:
    """Remembers the operations of those who call `note`; their names are found out afterwards."""

    def __init__(self) -> None:
        self._noted: Final[list[tuple[str, Operation | None]]] = []

    def note(self, what: str) -> None:
        self._noted.append((what, current_operation()))

    def names(self) -> dict[str, str | None]:
        """Return the name of the operation in which each was noted since the last call."""
        names = {
            what: operation.name() if operation is not None else None
            for what, operation in self._noted
        }
        self._noted.clear()
        return names
