"""Faults in fleet, for `mutate.py`."""

FAULTS = (
    (
        "a process that is gone is counted again after each crash of the exporter",
        "fleet/fleet.py",
        "for name, views in gone.items() if name not in self._totals.folded}",
        "for name, views in gone.items()}",
        ("tests/fleet/test_fleet.py",),
    ),
    (
        "totals are not kept",
        "fleet/fleet.py",
        "            self._totals = totals\n",
        "            pass\n",
        ("tests/fleet/test_fleet.py",),
    ),
    (
        "who holds what is not in the file",
        "fleet/segment_file.py",
        "        OWNER.pack_into(self._owners, start, _bytes(owner))\n",
        "",
        ("tests/fleet/test_segment_file.py",),
    ),
    (
        "a child of a fork goes on in its parent's name",
        "fleet/folder.py",
        "if self._process != os.getpid():",
        "if not self._process:",
        ("tests/fleet/test_fleet.py",),
    ),
    (
        "connections that are reserved for others are promised to pools",
        "fleet/commitments.py",
        "server.limit - server.reserved",
        "server.limit",
        ("tests/fleet/test_commitments.py",),
    ),
    (
        "numbers that make no sense are added up",
        "fleet/pool_view.py",
        "        and sum(counted) < math.inf\n",
        "",
        ("tests/fleet/test_segment_file.py",),
    ),
    (
        "what a process was killed at is never finished",
        "fleet/pool_view.py",
        "    if cells[c.JOURNAL_LENGTH]:\n",
        "    if False:\n",
        ("tests/ledger/test_hot_path.py",),
    ),
    (
        "a file in the middle of a change is taken as it is",
        "fleet/segment_reader.py",
        "return self._whole if alive and self._whole else data",
        "return data",
        ("tests/fleet/test_segment_file.py",),
    ),
)
