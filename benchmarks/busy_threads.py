"""
Threads that do nothing but check out and in, while another looks ten times a second.

Prints, for a pool with room for all and for one at its limit: uses per second unwatched and
watched, the most events that were ever pending and the most holds that were not folded yet, as seen
a thousand times a second, how many looks were answered and the longest time of one, and by how many
MiB the memory of the process grew.

Run it as `python -m benchmarks.busy_threads [THREADS [SECONDS]]`.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from typing import Any, Final

from benchmarks.sqlalchemy_cycle import pool_of
from poolscope.watching.watches import Watches

LOOK_EVERY: Final = 0.1
SAMPLE_EVERY: Final = 0.001


def run(threads: int, seconds: float, size: int, watched: bool) -> dict[str, float]:
    """Return what was seen of one run."""
    pool = pool_of(size)
    watch = Watches().watch(pool, registry=None) if watched else None
    uses, stop = [0] * threads, threading.Event()

    def use(number: int) -> None:
        while not stop.is_set():
            pool.connect().close()
            uses[number] += 1

    before = _mebibytes()
    running = [threading.Thread(target=use, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    seen = _look(watch, time.monotonic() + seconds)
    stop.set()
    stopped_at = time.monotonic()
    for thread in running:
        thread.join()
    seen["seconds until all callers went on"] = time.monotonic() - stopped_at
    seen["uses per second"] = sum(uses) / seconds
    seen["growth in MiB"] = _mebibytes() - before
    if watch is not None:
        snapshot = watch.snapshot()
        seen["uncounted uses"] = sum(uses) - snapshot.acquired
        seen["in use at the end"] = snapshot.in_use
    return seen


def _look(watch: Any, until: float) -> dict[str, float]:
    """Look and sample until then."""
    most_pending = most_finished = looks = 0
    longest = acquired = falls = 0.0
    next_look = 0.0
    while (now := time.monotonic()) < until:
        time.sleep(SAMPLE_EVERY)
        if watch is None:
            continue
        for ledger in watch._pool.ledgers:
            most_pending = max(most_pending, len(ledger.pending))
            most_finished = max(most_finished, len(ledger.holds.finished))
        if now >= next_look:
            started, next_look = time.monotonic(), now + LOOK_EVERY
            snapshot = watch.snapshot()
            longest = max(longest, time.monotonic() - started)
            falls += snapshot.acquired < acquired
            acquired = snapshot.acquired
            looks += 1
    if watch is None:
        return {}
    return {
        "most pending": most_pending,
        "most unfolded": most_finished,
        "looks answered": looks,
        "longest look in s": longest,
        "falls": falls,
    }


def show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    threads = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    show(f"Python {sys.version.split()[0]}, {threads} threads, {seconds:g} s each")
    for what, size in (("room for all", 2 * threads), ("at its limit", threads // 2)):
        bare = run(threads, seconds, size, False)["uses per second"]
        seen = run(threads, seconds, size, True)
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in seen.items())
        show(f"{what}: unwatched {bare:.4g} uses per second; watched: {numbers}")


if __name__ == "__main__":
    main()
