"""Deliberate faults in fleet, for `mutate.py`."""

FAULTS = (
    (
        "an ended process is counted again after each crash of the exporter",
        "fleet/fleet.py",
        "for name, views in ended.items() if name not in self._totals.folded}",
        "for name, views in ended.items()}",
        ("tests/fleet/test_fleet.py",),
    ),
    (
        "new totals are written but not used",
        "fleet/fleet.py",
        "            self._totals = totals\n",
        "            pass\n",
        ("tests/fleet/test_fleet.py",),
    ),
    (
        "the file does not contain the owners of holds",
        "fleet/segment_file.py",
        "        OWNER.pack_into(self._owners, start, _bytes(owner))\n",
        "",
        ("tests/fleet/test_segment_file.py",),
    ),
    (
        "a forked child uses the name of its parent",
        "fleet/folder.py",
        "if self._process != os.getpid():",
        "if not self._process:",
        ("tests/fleet/test_fleet.py",),
    ),
    (
        "reserved connections of a server count as available to pools",
        "fleet/commitments.py",
        "server.limit - server.reserved",
        "server.limit",
        ("tests/fleet/test_commitments.py",),
    ),
    (
        "numbers that are not possible are added up",
        "fleet/pool_view.py",
        "        and sum(counted) < math.inf\n",
        "",
        ("tests/fleet/test_damaged_files.py",),
    ),
    (
        "a fold that a killed process has begun is never finished",
        "fleet/pool_view.py",
        "    if cells[c.JOURNAL_LENGTH]:\n",
        "    if False:\n",
        ("tests/ledger/test_hot_path.py",),
    ),
    (
        "a read of half an update is used as it is",
        "fleet/segment_reader.py",
        "return self._consistent if alive and self._consistent else data",
        "return data",
        ("tests/fleet/test_segment_file.py",),
    ),
    (
        "a master that only forks counts as a process with a pool",
        "fleet/fleet.py",
        "                if view.unused:\n",
        "                if False:\n",
        ("tests/fleet/test_fleet.py",),
    ),
    (
        "a child does not say who its parent is",
        "fleet/folder.py",
        "self._parent, self._name = self._name, _register(folder)",
        "self._name = _register(folder)",
        ("tests/fleet/test_fleet.py",),
    ),
)
