"""Faults in the adapter of aiohttp, for `mutate.py`."""

FAULTS = (
    (
        "a request that gives up waits for ever",
        "adapters/aiohttp/recording.py",
        "        self.stopped_waiting(attempt)\n        now = self.clock()\n",
        "        now = self.clock()\n",
        ("tests/contract",),
    ),
    (
        "a connection that the server closes stays idle",
        "adapters/aiohttp/recording.py",
        'REPLACED_PROTOCOL_METHODS: Final = ("close", "abort", "connection_lost")',
        'REPLACED_PROTOCOL_METHODS: Final = ("close", "abort")',
        ("tests/adapters/aiohttp/test_aiohttp.py",),
    ),
    (
        "a session's time limit is a cancellation",
        "adapters/aiohttp/tracer.py",
        "cells.TIMEOUT if isinstance(exception, TimeoutError) else cells.CANCELLED",
        "cells.CANCELLED",
        ("tests/contract",),
    ),
    (
        "a response whose stream somebody has is lost",
        "adapters/aiohttp/lost.py",
        "references(lambda: protocol._payload) == 3",
        "True",
        ("tests/adapters/aiohttp/test_aiohttp_lost.py",),
    ),
)
