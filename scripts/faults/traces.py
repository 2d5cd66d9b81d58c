"""Deliberate faults in what is known of traces, and of where holders are now, for `mutate.py`."""

IN_FILES = ("tests/fleet/test_traces_in_files.py",)
PLACES = ("tests/fleet/test_places_of_holders.py",)

FAULTS = (
    (
        "a trace that is not sampled is an exemplar",
        "ledger/exemplars.py",
        "        if trace is None or not trace.is_sampled:\n",
        "        if trace is None:\n",
        ("tests/contract/test_traces.py",),
    ),
    (
        "the last value of a bucket is its exemplar, and not the slowest",
        "readings/exemplars.py",
        "    return kept is None or new.seconds > kept.seconds or new.at - kept.at > LASTS\n",
        "    return True\n",
        (*IN_FILES, "tests/contract/test_traces.py"),
    ),
    (
        "an exemplar stays for ever",
        "readings/exemplars.py",
        " or new.at - kept.at > LASTS\n",
        "\n",
        IN_FILES,
    ),
    (
        "a slot keeps the trace of the hold before, where the caller is the same",
        "fleet/segment_file.py",
        "        OWNER.pack_into(self._owners, start, _bytes(owner), trace)\n",
        "        trace and OWNER.pack_into(self._owners, start, _bytes(owner), trace)\n",
        IN_FILES,
    ),
    (
        "the exporter has the exemplars of one process only",
        "readings/exemplars.py",
        "            kept = found.get(number, exemplar)\n",
        "            kept = exemplar\n",
        IN_FILES,
    ),
    (
        "impossible exemplars of a damaged file are shown",
        "ledger/exemplars.py",
        " and are_possible:\n",
        ":\n",
        IN_FILES,
    ),
    (
        "a short wait is an event",
        "ledger/attempts.py",
        "queued > TRACED_WAIT and tracers",
        "tracers",
        ("tests/contract/test_traces.py",),
    ),
    (
        "a time-out is no exemplar",
        "ledger/attempts.py",
        "            self.holds.exemplars.observe(ACQUIRES, seconds, trace)\n",
        "            pass\n",
        ("tests/contract/test_traces.py",),
    ),
    (
        "a slot that a fold frees keeps where its holder was",
        "ledger/holds.py",
        "        for slot in self._placed.keys() & slots:\n            self._unplace(slot)\n",
        "",
        PLACES,
    ),
    (
        "a slot that an event frees keeps where its holder was",
        "ledger/holds.py",
        "        if slot in self._placed:\n            self._unplace(slot)\n",
        "",
        PLACES,
    ),
    (
        "a time-out does not say to other processes where the holders are",
        "watching/pool_log.py",
        "    for ledger in ledgers:\n        ledger.place(places)\n",
        "",
        PLACES,
    ),
    (
        "the stacks of other threads keep what they refer to alive",
        "callsites/whereabouts.py",
        "        self._others.pop(get_ident(), None)\n",
        "",
        ("tests/callsites/test_variables.py",),
    ),
    (
        "the search of other threads keeps what they refer to alive",
        "callsites/hands.py",
        "    frames.pop(own, None)\n",
        "",
        ("tests/callsites/test_variables.py",),
    ),
    (
        "a search that was cut short blames the caller",
        "callsites/hands.py",
        "        return others.wanted if others.is_cut_short else others.found\n",
        "        return others.found\n",
        ("tests/callsites/test_variables.py",),
    ),
)
