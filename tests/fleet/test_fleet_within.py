"""A process reads the folder in which it writes itself: it lives, and its lock stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from poolscope.fleet.fleet import Fleet
from poolscope.fleet.folder import Folder
from poolscope.watching.watches import Watches

PROBE = """
import sys
from poolscope.fleet.processes import last_seen_of
from pathlib import Path
print(*(last_seen_of(path, 1e9) for path in Path(sys.argv[1]).glob("*.process")))
"""


def test_a_process_reads_its_own_pools(folder: Path, sqlite: Any) -> None:
    watches = Watches(folder=Folder(folder))
    engine = sqlite()
    watches.watch(engine, "orders", registry=None)
    fleet = Fleet(folder)
    for count in range(1, 4):
        engine.connect().close()
        view = fleet.scan()
        (report,) = view.reports
        assert (count, 1, 0, 0) == (
            report.reading.acquired, len(view.processes), view.gone, view.bad,
        )  # fmt: skip
    seen = subprocess.run(
        [sys.executable, "-c", PROBE, str(folder)], capture_output=True, text=True, check=True
    )
    assert "None\n" == seen.stdout  # another process finds it alive
    fleet.close()
