"""Faults in the adapter of aiohttp, for `mutate.py`."""

FAULTS = (
    (
        "a request that gives up is counted as waiting for ever",
        "adapters/aiohttp/recording.py",
        "        self.stopped_waiting(attempt)\n        now = self.clock()\n",
        "        now = self.clock()\n",
        ("tests/contract",),
    ),
    (
        "a connection that the server closes is counted as idle",
        "adapters/aiohttp/protocols.py",
        'for name in ("close", "abort", "connection_lost")',
        'for name in ("close", "abort")',
        ("tests/adapters/aiohttp/test_aiohttp.py",),
    ),
    (
        "a time-out of a session is counted as a cancellation",
        "adapters/aiohttp/tracer.py",
        "            outcome = cells.TIMEOUT\n",
        "            outcome = cells.CANCELLED\n",
        ("tests/contract",),
    ),
    (
        "a response whose stream is still referenced counts as lost",
        "adapters/aiohttp/lost.py",
        "references(lambda: protocol._payload) == 3",
        "True",
        ("tests/adapters/aiohttp/test_aiohttp_lost.py",),
    ),
    (
        "a websocket that is opened beside a response nests",
        "adapters/aiohttp/hooks.py",
        "        if SEC_WEBSOCKET_KEY in req.headers:\n",
        "        if False:\n",
        ("tests/adapters/aiohttp/test_aiohttp_websockets.py",),
    ),
    (
        "a websocket that somebody still has counts as lost",
        "adapters/aiohttp/lost.py",
        "    return count == len(own) and",
        "    return",
        ("tests/adapters/aiohttp/test_aiohttp_lost.py",),
    ),
    (
        "a websocket whose heart has beaten is never lost",
        "adapters/aiohttp/lost.py",
        '    "_pong_response_cb",\n',
        "",
        ("tests/adapters/aiohttp/test_aiohttp_lost.py",),
    ),
    (
        "a client middleware asks for the connections of all requests",
        "adapters/aiohttp/classes.py",
        "                    if outer is None or outer.f_code is not REQUEST:\n",
        "                    if outer is None:\n",
        ("tests/adapters/aiohttp/test_aiohttp_middlewares.py",),
    ),
    (
        "a client middleware waits for the connections of all requests",
        "adapters/aiohttp/attempts.py",
        "        if code is REQUEST or (\n",
        "        if found is frame or (\n",
        ("tests/adapters/aiohttp/test_aiohttp_middlewares.py",),
    ),
    (
        "an option of the connector is not seen in a request",
        "adapters/aiohttp/connectors.py",
        "(key.ssl is False or (not by_default and key.ssl in (True, None)))",
        "key.ssl is False",
        ("tests/readings/test_findings.py",),
    ),
)
