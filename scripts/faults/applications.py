"""Faults in what names requests, for `mutate.py`."""

FAULTS = (
    (
        "a request is kept alive by the connections that it has dropped",
        "applications/requests.py",
        "        self._find_template = _nothing\n",
        "",
        ("tests/applications/test_dropped_connections.py",),
    ),
    (
        "the scope of a request is kept alive",
        "applications/asgi.py",
        "known = scope if self._by_scope else {",
        "known = scope if True else {",
        ("tests/applications/test_dropped_connections.py",),
    ),
    (
        "the environment of a request is kept alive",
        "applications/wsgi.py",
        "known = environ if self._by_framework else _texts(environ)",
        "known = environ",
        ("tests/applications/test_dropped_connections.py",),
    ),
    (
        "the route is looked up when a framework has forgotten it",
        "applications/wsgi.py",
        "body = app(environ, start if self._by_framework else start_response)",
        "body = app(environ, start_response)",
        ("tests/applications/test_wsgi_requests.py",),
    ),
    (
        "what follows an answer belongs to the request",
        "applications/requests.py",
        "        box[0] = Background(operation)\n",
        "        pass\n",
        ("tests/applications/test_asgi_requests.py",),
    ),
    (
        "a method that no route allows names the route",
        "applications/asgi.py",
        'if match.name != "FULL":',
        'if match.name == "NONE":',
        ("tests/applications/test_asgi_requests.py",),
    ),
    (
        "any method of a client is a name",
        "applications/requests.py",
        'method if method in _METHODS else "OTHER"',
        "method",
        ("tests/applications/test_asgi_requests.py",),
    ),
    (
        "parts of an answer that are made while it is sent belong to nothing",
        "applications/wsgi.py",
        "        goes_on(box, operation)\n",
        "",
        ("tests/applications/test_wsgi_requests.py",),
    ),
    (
        "the metrics come after a route that matches any path",
        "applications/starlette.py",
        "routes.insert(0, ",
        "routes.append(",
        ("tests/applications/test_asgi_requests.py",),
    ),
)
