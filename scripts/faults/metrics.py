"""Faults in metrics, for `mutate.py`."""

FAULTS = (
    (
        "metrics are collected in the event loop",
        "metrics/asgi.py",
        "render() if _get_running_loop() is None else await _in_thread(render)",
        "render()",
        ("tests/metrics/test_http_server.py",),
    ),
    (
        "a text of many parts has the end of OpenMetrics in each",
        "metrics/rendering.py",
        ".removesuffix(end)",
        "",
        ("tests/metrics/test_http_server.py",),
    ),
    (
        "a family in pieces has its description in each",
        "metrics/rendering.py",
        "text.removeprefix(head)",
        "text",
        ("tests/test_pacing.py",),
    ),
    (
        "what is found goes with the pool",
        "metrics/family.py",
        "    stays: bool = True\n",
        "    stays: bool = False\n",
        ("tests/readings/test_findings.py",),
    ),
)
