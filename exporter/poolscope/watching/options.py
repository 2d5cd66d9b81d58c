"""The options of a watch, besides its name and registry."""

from __future__ import annotations

from typing import Final, NamedTuple


class WatchOptions(NamedTuple):
    """
    These options; see `Watches.watch`.

    leak_after: in seconds; None: a connection is never overdue.
    """

    leak_after: float | None = 60.0
    call_sites: bool = True
    application_name: str | None = None

    def over(self, others: WatchOptions) -> WatchOptions:
        """Return these options, with those of `others` wherever these are the usual ones."""
        pairs = zip(self, USUAL, others, strict=True)
        return WatchOptions._make(other if mine == usual else mine for mine, usual, other in pairs)


USUAL: Final = WatchOptions()
