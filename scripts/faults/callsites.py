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
        "two callbacks of an event loop are one caller",
        "callsites/owners.py",
        "return ThreadJob() if trio_task() is None else new_job()",
        "return new_job()",
        ("tests/contract/test_askers.py",),
    ),
    (
        "tasks of trio are one caller",
        "callsites/runners.py",
        "return get_ident() if task is None else weakref.ref(task)",
        "return get_ident()",
        ("tests/contract/test_askers.py",),
    ),
    (
        "a thread that Python did not start leaves a dead thread",
        "callsites/owners.py",
        "known = _threads.get(get_ident())",
        "known = threading.current_thread()",
        ("tests/callsites/test_threads.py",),
    ),
    (
        "a task that outlives the block that it began in stays inside",
        "callsites/purposes.py",
        "    while block is not None and not block.open:\n",
        "    while False:\n",
        ("tests/callsites/test_purposes.py",),
    ),
)
