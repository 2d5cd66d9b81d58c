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
        "known = _threads.get(thread)",
        "known = threading.current_thread()",
        ("tests/callsites/test_threads.py",),
    ),
    (
        "a helper that contextlib runs is the call site",
        "callsites/frames.py",
        "            is_helper = function.is_generator and _is_run_by_contextlib(frame)\n",
        "            is_helper = False\n",
        ("tests/callsites/test_helpers.py",),
    ),
    (
        "the hot path takes a helper that contextlib runs for the call site",
        "callsites/frames.py",
        " and has_exact_frames and not self.is_generator\n",
        " and has_exact_frames\n",
        ("tests/callsites/test_helpers.py",),
    ),
    (
        "the innermost of several helpers is the call site, where no other line is",
        "callsites/frames.py",
        "function.rank < rank or (is_helper and function.rank == rank)",
        "function.rank < rank or (is_helper and not function.is_generator)",
        ("tests/callsites/test_helpers.py",),
    ),
    (
        "the line of a compiled function is that of its first bytecode",
        "callsites/frames.py",
        "return self, frame.f_lasti if self.has_exact_frames else frame.f_lineno",
        "return self, frame.f_lasti",
        ("tests/callsites/test_names.py",),
    ),
    (
        "a library beside the application is the application",
        "callsites/origins.py",
        "    if is_folder_of_packages(file) or installed.has(inside):\n",
        "    if is_folder_of_packages(file):\n",
        ("tests/callsites/test_installed.py",),
    ),
    (
        "an application that is installed is a library",
        "callsites/origins.py",
        "        if top in main_program().packages and not is_script:\n",
        "        if False:\n",
        ("tests/callsites/test_layouts.py",),
    ),
    (
        "well-known libraries are not told apart in a frozen program",
        "callsites/origins.py",
        "    if top in WELL_KNOWN and (_IS_FROZEN or _holds_pool_libraries(folder)):\n",
        "    if top in WELL_KNOWN and _holds_pool_libraries(folder):\n",
        ("tests/callsites/test_layouts.py",),
    ),
    (
        "the variable that names the application only adds to it",
        "callsites/origins.py",
        "    own = UNNAMED if named else APPLICATION\n",
        "    own = APPLICATION\n",
        ("tests/callsites/test_origins.py",),
    ),
    (
        "an installed package of one module hides a folder of the application",
        "callsites/installed.py",
        "        return path in self.modules or _top(path) in self.packages\n",
        "        return _top(path) in {*self.packages, *map(_top, self.modules)}\n",
        ("tests/callsites/test_installed.py",),
    ),
    (
        "what is installed is read on the event loop",
        "callsites/installed.py",
        "off_loop(lambda: _look_into(folder)) if folder else NOTHING",
        "_look_into(folder) if folder else NOTHING",
        ("tests/callsites/test_installed.py",),
    ),
    (
        "an owner keeps the name that it had",
        "callsites/borrower.py",
        "        return (get_name() if get_name is not None else None) or self.owner\n",
        "        return self.owner\n",
        ("tests/callsites/test_threads.py",),
    ),
)
