"""Deliberate faults in metrics, for `mutate.py`."""

FAULTS = (
    (
        "metrics are collected in the event loop",
        "metrics/asgi.py",
        "if _get_running_loop() is None:",
        "if True:",
        ("tests/metrics/test_http_server.py",),
    ),
    (
        "each part of a text ends with the last line of OpenMetrics",
        "metrics/rendering.py",
        ".removesuffix(end)",
        "",
        ("tests/metrics/test_http_server.py",),
    ),
    (
        "each piece of a family repeats its description",
        "metrics/rendering.py",
        "text.removeprefix(head)",
        "text",
        ("tests/process/test_pacing.py",),
    ),
    (
        "findings disappear together with the pool",
        "metrics/family.py",
        "    stays: bool = True\n",
        "    stays: bool = False\n",
        ("tests/readings/test_findings.py",),
    ),
    (
        "Starlette redirects a mount of the metrics",
        "metrics/starlette_routes.py",
        "            self.__class__ = _with_and_without_slash(type(self))\n",
        "            pass\n",
        ("tests/metrics/test_embedding.py",),
    ),
    (
        "the default registry is the one that there was at import",
        "metrics/registries.py",
        "return prometheus_client.REGISTRY if",
        "return prometheus_client.registry.REGISTRY if",
        ("tests/watching/test_registries.py",),
    ),
    (
        "middleware compresses again what is compressed",
        "metrics/asgi.py",
        "(name.lower().encode(), value.encode())",
        "(name.encode(), value.encode())",
        ("tests/metrics/test_embedding.py",),
    ),
)
