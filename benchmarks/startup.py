"""How long `import poolscope` takes: new processes, one after the other, with and without."""

from __future__ import annotations

import os
import resource
import subprocess
from typing import Final

from benchmarks.environments import HERE, environment
from benchmarks.figures import Rounds

PROGRAMS: Final = {
    "python": "pass",
    "prometheus_client": "import prometheus_client",
    "poolscope": "import prometheus_client, poolscope",
}


def measure(number: int) -> Rounds:
    """Return the milliseconds of CPU of that many processes of each."""
    found: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for name in PROGRAMS:
        milliseconds(name)  # which writes what is compiled
    for _ in range(number):
        for name in PROGRAMS:
            found[name].append(milliseconds(name))
    return found


def milliseconds(name: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(  # noqa: S603 - our own
        [HERE, "-c", PROGRAMS[name]], check=True, cwd=os.path.sep, env=environment()
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return seconds * 1000
