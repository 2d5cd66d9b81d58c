"""Deliberate faults in the search for call sites, for `mutate.py`."""

FAULTS = (
    (
        "a caller that awaits an async engine is not found",
        "callsites/frames.py",
        "    frame: FrameType | None = current.gr_frame if current is not None else None\n",
        "    frame: FrameType | None = None\n",
        ("tests/contract",),
    ),
    (
        "an installed application that awaits an async engine is not found",
        "callsites/frames.py",
        "            outer = _parent_greenlets_frame(hops)\n",
        "            pass\n",
        ("tests/callsites/test_frames.py",),
    ),
    (
        "the code that runs the event loop is the call site",
        "callsites/frames.py",
        "        if frame is outermost:\n            break\n",
        "",
        ("tests/readings/test_holders.py",),
    ),
    (
        "functions with equal code are the same function",
        "callsites/frames.py",
        "if len(_functions) >= MAX_KNOWN_FUNCTIONS:",
        (
            "function = next((f for f in _functions.values() if f.code == code), function)\n"
            "    if len(_functions) >= MAX_KNOWN_FUNCTIONS:"
        ),
        ("tests/callsites/test_frames.py",),
    ),
    (
        "a thread that Python did not start leaves a dead thread",
        "callsites/owners.py",
        "known = _threads.get(get_ident())",
        "known = threading.current_thread()",
        ("tests/callsites/test_threads.py",),
    ),
)
