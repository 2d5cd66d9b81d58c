"""
Show that the tests can fail: put one deliberate fault after the other into a copy of the package,
and run the tests that ought to notice.

    mutate.py [WORD ...]    only the faults whose description has one of the words

Exits with 1 if a fault goes unnoticed, or cannot be put in because the code has changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
ANY_POOL = "tests/contract"
SERVERS = "tests/integration/test_application_servers.py"


@dataclass(frozen=True)
class Fault:
    """In `module`, `right` becomes `wrong`; `tests` are those that ought to notice."""

    what: str
    module: str
    right: str
    wrong: str
    tests: tuple[str, ...]


FAULTS = (
    Fault(
        "a detached connection stays in use or idle",
        "adapters/sqlalchemy/recording.py",
        "if record.dbapi_connection is None:  # detached, invalidated, or never opened",
        "if False:",
        ("tests/adapters/sqlalchemy/test_sqlalchemy.py",),
    ),
    Fault(
        "the event of a close is not listened to",
        "adapters/sqlalchemy/records.py",
        '    ("close", _on_close),\n',
        "",
        ("tests/adapters/sqlalchemy/test_sqlalchemy.py",),
    ),
    Fault(
        "the pool that replaces a disposed one is not followed",
        "adapters/sqlalchemy/hooks.py",
        'INSTEAD: Final = ("recreate", ',
        "INSTEAD: Final = (",
        ("tests/adapters/sqlalchemy/test_sqlalchemy.py",),
    ),
    Fault(
        "a record that is collected keeps its connection open",
        "adapters/sqlalchemy/records.py",
        "    _, hooks = tracked.pop(key)\n    hooks.collected(key)\n",
        "    tracked.pop(key)\n",
        ("tests/adapters/sqlalchemy/test_sqlalchemy_pools.py",),
    ),
    Fault(
        "connections that were open before the watch are not looked for",
        "adapters/sqlalchemy/hooks.py",
        "self._adopt(existing_records(pool, scan=watched.first_of_name))",
        "pass",
        (ANY_POOL,),
    ),
    Fault(
        "a connection that is opened for an attempt that fails stays",
        "adapters/sqlalchemy/recording.py",
        "            self.ledger.closed(opened, now)\n",
        "            pass\n",
        ("tests/adapters/sqlalchemy/test_sqlalchemy.py",),
    ),
    Fault(
        "a second close of one connection counts",
        "ledger/events.py",
        "        if key not in self._open:\n            return\n        self._advance(now)\n",
        "        self._advance(now)\n",
        ("tests/ledger/test_ledger.py",),
    ),
    Fault(
        "a caller that was cancelled waits for ever",
        "adapters/asyncpg/recording.py",
        "        self._waits_no_more(attempt)\n        now, outcome = ",
        "        now, outcome = ",
        (ANY_POOL,),
    ),
    Fault(
        "a connection that the server closes while it is out stays in use",
        "adapters/asyncpg/classes.py",
        "            hooks_of(self._pool).lost(self)\n",
        "            pass\n",
        ("tests/adapters/asyncpg/test_asyncpg.py",),
    ),
    Fault(
        "connections of a pool's start are not counted",
        "adapters/asyncpg/hooks.py",
        "        pool._holders = Holders(self)\n",
        "        pass\n",
        ("tests/adapters/asyncpg/test_asyncpg.py",),
    ),
    Fault(
        "a connection that is being set up is idle",
        "adapters/asyncpg/recording.py",
        "            self.ledger.taken(id(holder._con), self.clock())\n",
        "            pass\n",
        ("tests/adapters/asyncpg/test_asyncpg.py",),
    ),
    Fault(
        "a request that gives up waits for ever",
        "adapters/aiohttp/recording.py",
        "        self.stopped_waiting(attempt)\n        now = self.clock()\n",
        "        now = self.clock()\n",
        (ANY_POOL,),
    ),
    Fault(
        "a connection that the server closes stays idle",
        "adapters/aiohttp/recording.py",
        'INSTEAD_OF_PROTOCOL: Final = ("close", "abort", "connection_lost")',
        'INSTEAD_OF_PROTOCOL: Final = ("close", "abort")',
        ("tests/adapters/aiohttp/test_aiohttp.py",),
    ),
    Fault(
        "a session's time limit is a cancellation",
        "adapters/aiohttp/tracer.py",
        "cells.TIMEOUT if isinstance(exception, TimeoutError) else cells.CANCELLED",
        "cells.CANCELLED",
        (ANY_POOL,),
    ),
    Fault(
        "an event that comes while another is recorded is lost",
        "ledger/recorder.py",
        "self._pending.append(functools.partial(apply, self, *args, **kwargs))",
        "pass",
        ("tests/ledger/test_ledger.py",),
    ),
    Fault(
        "time in the queue is not added up",
        "ledger/waits.py",
        "        self._cells[c.WAITING_SECONDS] += max(0.0, now - since)\n",
        "",
        ("tests/ledger/test_ledger.py",),
    ),
    Fault(
        "a peak is forgotten after one window",
        "ledger/state.py",
        "cells[peak] if windows == 1 else value",
        "value",
        ("tests/ledger/test_ledger.py",),
    ),
    Fault(
        "an overdue hold that is lost counts as recovered",
        "ledger/holds.py",
        "            if returned:\n",
        "            if True:\n",
        ("tests/readings/test_holders.py",),
    ),
    Fault(
        "an overdue hold is forgotten when it ends",
        "ledger/holds.py",
        "            self._cells[c.WAS_OVERDUE] += 1\n",
        "            pass\n",
        (ANY_POOL,),
    ),
    Fault(
        "who had a connection has it for ever",
        "ledger/holds.py",
        "        self.forget(who[2])\n",
        "",
        ("tests/readings/test_holders.py",),
    ),
    Fault(
        "who awaits an async engine is not found",
        "callsites/frames.py",
        "    frame: FrameType | None = current.gr_frame if current is not None else None\n",
        "    frame: FrameType | None = None\n",
        (ANY_POOL,),
    ),
    Fault(
        "an installed application that awaits an async engine is not found",
        "callsites/frames.py",
        "            back = _parent(hops)\n",
        "            pass\n",
        ("tests/callsites/test_frames.py",),
    ),
    Fault(
        "who adds a pool waits for a scrape to end",
        "watching/groups.py",
        "        courtesy.let_others_run()\n        for member in list(group.members):\n"
        "            member.look()\n        with self._lock:\n",
        "        with self._lock:\n            courtesy.let_others_run()\n",
        ("tests/test_pacing.py",),
    ),
    Fault(
        "metrics are collected in the event loop",
        "metrics/asgi.py",
        "render() if _get_running_loop() is None else await _in_thread(render)",
        "render()",
        ("tests/metrics/test_http_server.py",),
    ),
    Fault(
        "a text of many parts has the end of OpenMetrics in each",
        "metrics/rendering.py",
        ".removesuffix(end)",
        "",
        ("tests/metrics/test_http_server.py",),
    ),
    Fault(
        "a family in pieces has its description in each",
        "metrics/rendering.py",
        "text.removeprefix(head)",
        "text",
        ("tests/test_pacing.py",),
    ),
    Fault(
        "a scrape lets nobody else run",
        "pacing.py",
        "perf_counter() - self._since >= EACH",
        "False",
        ("tests/test_pacing.py",),
    ),
    Fault(
        "a method of the application's own is not there again",
        "adapters/patches.py",
        "        and method.__func__ is getattr(type(target), name, None)\n",
        "",
        ("tests/watching/test_watch.py",),
    ),
    Fault(
        "who waits logs while all others wait for the queue",
        "adapters/sqlalchemy/queues.py",
        "self._ledger.ask(key=LOCKED)",
        "self._ledger.ask()",
        ("tests/adapters/sqlalchemy/test_sqlalchemy_faults.py",),
    ),
    Fault(
        "who is about to wait tells nothing of what is overdue",
        "adapters/sqlalchemy/hooks.py",
        "                self.look_if_due(started)\n",
        "                pass\n",
        ("tests/adapters/sqlalchemy/test_sqlalchemy_faults.py",),
    ),
    Fault(
        "who runs the loop has asked",
        "callsites/frames.py",
        "        if frame is outermost:\n            break\n",
        "",
        ("tests/readings/test_holders.py",),
    ),
    Fault(
        "functions with the same text are the same",
        "callsites/frames.py",
        "if len(_functions) >= REMEMBERED:",
        "function = next((f for f in _functions.values() if f.code == code), function)\n"
        "    if len(_functions) >= REMEMBERED:",
        ("tests/callsites/test_frames.py",),
    ),
    Fault(
        "each time-out is logged, however many there are",
        "watching/pool_log.py",
        "                self._next = now + QUIET\n",
        "                pass\n",
        (ANY_POOL,),
    ),
    Fault(
        "what the garbage collector returns was returned",
        "ledger/state.py",
        "        if dropped is not None and dropped is self.holds.back(key):\n",
        "        if False:\n",
        (ANY_POOL,),
    ),
    Fault(
        "who returns a connection has dropped what was dropped before",
        "ledger/state.py",
        "dropped is not None and dropped is self.holds.back(key)",
        "dropped is not None",
        ("tests/ledger/test_ledger.py",),
    ),
    Fault(
        "what is dropped before it is counted is not named",
        "ledger/events.py",
        "        self._coming[key] = back\n",
        "",
        ("tests/ledger/test_ledger.py",),
    ),
    Fault(
        "a connection whose caller is cancelled while it is returned is lost",
        "adapters/asyncpg/recording.py",
        " and not is_being_released(holder)",
        "",
        ("tests/adapters/asyncpg/test_asyncpg_lost.py",),
    ),
    Fault(
        "a connection that listens is lost",
        "adapters/asyncpg/lost.py",
        "if connection._listeners or connection._log_listeners:",
        "if False:",
        ("tests/adapters/asyncpg/test_asyncpg_lost.py",),
    ),
    Fault(
        "what an error remembers counts as a holder",
        "adapters/asyncpg/lost.py",
        "others == _remembered(connection, who)",
        "False",
        (ANY_POOL,),
    ),
    Fault(
        "a response whose stream somebody has is lost",
        "adapters/aiohttp/lost.py",
        "references(lambda: protocol._payload) == 3",
        "True",
        ("tests/adapters/aiohttp/test_aiohttp_lost.py",),
    ),
    Fault(
        "jobs of one thread nest",
        "ledger/hot_path.py",
        "if mine is None or mine.thread != get_ident():",
        "if mine is None:",
        (ANY_POOL,),
    ),
    Fault(
        "what is overdue is said at each look",
        "ledger/holds.py",
        "        self._looked_at = max(now, self._looked_at)\n",
        "",
        (ANY_POOL,),
    ),
    Fault(
        "a pool that is dropped with open connections was closed",
        "watching/watched_pool.py",
        "        if ledger.unclosed:\n",
        "        if False:\n",
        ("tests/readings/test_findings.py",),
    ),
    Fault(
        "a synchronous pool may block the loop",
        "adapters/sqlalchemy/queues.py",
        "        self._blocking()\n",
        "",
        ("tests/readings/test_findings.py",),
    ),
    Fault(
        "what is found goes with the pool",
        "metrics/family.py",
        "    stays: bool = True\n",
        "    stays: bool = False\n",
        ("tests/readings/test_findings.py",),
    ),
    Fault(
        "a log that fails at the end of the stack is the caller's trouble",
        "errors.py",
        "        with suppress(Exception):\n",
        "        with suppress():\n",
        ("tests/test_errors.py",),
    ),
    Fault(
        "a process that is gone is counted again after each crash of the exporter",
        "fleet/fleet.py",
        "for name, views in gone.items() if name not in self._totals.folded}",
        "for name, views in gone.items()}",
        ("tests/fleet/test_fleet.py",),
    ),
    Fault(
        "totals are not kept",
        "fleet/fleet.py",
        "            self._totals = totals\n",
        "            pass\n",
        ("tests/fleet/test_fleet.py",),
    ),
    Fault(
        "who holds what is not in the file",
        "fleet/segment_file.py",
        "        OWNER.pack_into(self._owners, start, _bytes(owner))\n",
        "",
        ("tests/fleet/test_segment_file.py",),
    ),
    Fault(
        "a child of a fork goes on in its parent's name",
        "fleet/folder.py",
        "if self._process != os.getpid():",
        "if not self._process:",
        ("tests/fleet/test_fleet.py",),
    ),
    Fault(
        "connection-seconds of a function go with its pool",
        "watching/groups.py",
        "        group.sites.ended(ledger.sites())\n",
        "",
        ("tests/readings/test_holders.py",),
    ),
    Fault(
        "counters of a pool that is gone are forgotten",
        "watching/groups.py",
        "        group.ended = total([group.ended, counters])\n",
        "",
        ("tests/watching/test_watch.py",),
    ),
    Fault(
        "a child that never uses the pool is a process that has made one",
        "ledger/state.py",
        "self._start(Segment)\n        self._lock = Asleep(self._wake)",
        "self._start(self._segments)",
        ("tests/integration/test_application_servers.py::test_children_that_never_use_the_pool",),
    ),
    Fault(
        "a child that replaces the pool writes into the file of its parent",
        "adapters/sqlalchemy/hooks.py",
        "        self.watched.follow_fork()\n",
        "",
        (f"{SERVERS}::test_children_that_dispose_before_poolscope_knows_of_the_fork",),
    ),
    Fault(
        "connections that are reserved for others are promised to pools",
        "fleet/commitments.py",
        "server.limit - server.reserved",
        "server.limit",
        ("tests/fleet/test_commitments.py",),
    ),
    Fault(
        "numbers that make no sense are added up",
        "fleet/pool_view.py",
        "        and sum(counted) < math.inf\n",
        "",
        ("tests/fleet/test_segment_file.py",),
    ),
    Fault(
        "listeners that come later have what is idle",
        "adapters/sqlalchemy/hooks.py",
        "            if dispatch.checkout is not silent or of_class:\n",
        "            if False:\n",
        ("tests/adapters/sqlalchemy/test_sqlalchemy.py",),
    ),
    Fault(
        "listeners that there are have what is idle",
        "adapters/sqlalchemy/hooks.py",
        "if pool._pre_ping or pool.dispatch.checkout:",
        "if pool._pre_ping:",
        ("tests/adapters/sqlalchemy/test_sqlalchemy.py",),
    ),
    Fault(
        "what is asked in a callback is the attempt that the callback is of",
        "adapters/asyncpg/recording.py",
        "attempt = uncertain.pop(_task(), None)",
        "attempt = uncertain.get(_task())",
        ("tests/adapters/asyncpg/test_asyncpg.py",),
    ),
    Fault(
        "what a process was killed at is never finished",
        "fleet/pool_view.py",
        "    if cells[c.FOLDING]:\n",
        "    if False:\n",
        ("tests/ledger/test_hot_path.py",),
    ),
    Fault(
        "a hold is there twice while it ends",
        "ledger/holds.py",
        "            if hold is not None and hold[2] is who:",
        "            if False:",
        ("tests/ledger/test_hot_path.py",),
    ),
    Fault(
        "other processes do not see that a hold has ended",
        "ledger/hot_path.py",
        "            cells[slot + HOLD_ENDED] = now\n",
        "            pass\n",
        ("tests/ledger/test_hot_path.py",),
    ),
    Fault(
        "an ordinary use makes no peak",
        "ledger/hot_path.py",
        "if len(out) > ledger.calm_up_to or now >= ledger.calm_until:",
        "if now >= ledger.calm_until:",
        ("tests/ledger/test_hot_path.py",),
    ),
    Fault(
        "a use that ends is never the end of a time without a free slot",
        "ledger/hot_path.py",
        "            ledger.recount(now, -1)\n",
        "            pass\n",
        ("tests/ledger/test_hot_path.py",),
    ),
    Fault(
        "what is out for too long ends as any other use does",
        "ledger/hot_path.py",
        "held > ledger.leak_after or back() is None",
        "back() is None",
        ("tests/ledger/test_hot_path.py",),
    ),
    Fault(
        "what was dropped ends as any other use does",
        "ledger/hot_path.py",
        "held > ledger.leak_after or back() is None",
        "held > ledger.leak_after",
        ("tests/ledger/test_hot_path.py",),
    ),
    Fault(
        "what ends while somebody reads is nowhere",
        "ledger/state.py",
        "if not self.holds.ended:\n                break",
        "if True:\n                break",
        ("tests/ledger/test_hot_path.py",),
    ),
    Fault(
        "who is woken in vain asks again",
        "adapters/sqlalchemy/queues.py",
        "self.ended.get(key, NOT_WAITED).who or self._ledger.ask(key=LOCKED)",
        "self._ledger.ask(key=LOCKED)",
        ("tests/contract/test_nested.py",),
    ),
    Fault(
        "a second connection of a task is not counted as its second",
        "ledger/hot_path.py",
        "if pending or asker in askers or key in out or key not in opened:",
        "if pending or key in out or key not in opened:",
        ("tests/ledger/test_hot_path.py",),
    ),
    Fault(
        "a file in the middle of a change is taken as it is",
        "fleet/segment_reader.py",
        "return self._whole if alive and self._whole else data",
        "return data",
        ("tests/fleet/test_segment_file.py",),
    ),
    Fault(
        "a holder that has still to be set up is taken to be ready",
        "adapters/asyncpg/pools.py",
        "        or holder._setup is not None\n",
        "",
        (ANY_POOL, "tests/adapters/asyncpg/test_asyncpg.py"),
    ),
    Fault(
        "sums of seconds fall when a reading overtakes the end of a hold",
        "readings/reading.py",
        "list(map(max, self._seconds, [values[place] for place in _SECONDS]))",
        "[values[place] for place in _SECONDS]",
        ("tests/ledger/test_ledger.py",),
    ),
)


def noticed(fault: Fault) -> bool | None:
    """Return whether the tests fail with the fault in; None if it cannot be put in."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "poolscope"
        shutil.copytree(ROOT / "exporter" / "poolscope", package)
        module = package / fault.module
        text = module.read_text()
        if text.count(fault.right) != 1:
            return None
        module.write_text(text.replace(fault.right, fault.wrong))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "--timeout=120",
            *fault.tests,
        ]
        environment = {**os.environ, "PYTHONPATH": folder}
        result = subprocess.run(  # noqa: S603 - our own tests
            command, cwd=ROOT, env=environment, capture_output=True, check=False
        )
    # 1 is what pytest returns if tests ran and failed; anything else would be no proof.
    return result.returncode == 1


def main() -> int:
    words = sys.argv[1:]
    chosen = [fault for fault in FAULTS if not words or any(word in fault.what for word in words)]
    verdicts = {True: "noticed", False: "NOT NOTICED", None: "CANNOT BE PUT IN"}
    missed = 0
    for fault in chosen:
        result = noticed(fault)
        missed += result is not True
        print(f"{verdicts[result]:>16}  {fault.module}: {fault.what}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} faults were noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
