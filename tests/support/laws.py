"""Laws that the counters of a watch obey at any time when nothing happens in the pool."""

from __future__ import annotations

from poolscope.watching.watch import Watch
from support.histograms import count_of


def laws_of_counters(watch: Watch, adopted: int) -> dict[str, bool]:
    """
    Return which laws hold.

    adopted: how many connections were open when the watch began.
    """
    reading, ledger = watch._pool.read(), watch._pool.ledgers[-1]
    attempts = reading.acquired + reading.timed_out + reading.cancelled + reading.failed
    opens = reading.opened + reading.open_failed
    return {
        "attempts have a duration": attempts == count_of(reading.acquire_seconds),
        "uses have a duration": reading.acquired >= count_of(reading.hold_seconds),
        "waits have a duration": reading.waited == count_of(reading.queue_seconds),
        "opens have a duration": opens == count_of(reading.open_seconds) + adopted,
        "opened - closed are open": reading.opened - reading.closed
        == reading.in_use - len(ledger._lost_slots) + reading.idle,
        "nothing is pending": not ledger.pending and not ledger._lock,
    }
