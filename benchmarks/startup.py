"""
The CPU time of new processes: that import poolscope, that do not, that are its command, and that
`poolscope run` starts without a pool.
"""

from __future__ import annotations

import os
import resource
import subprocess
from typing import Final

from benchmarks.environments import THIS_PYTHON, environment
from benchmarks.figures import Rounds
from poolscope.commands.run import SITE

LAUNCHED: Final = "python under poolscope run"

PROGRAMS: Final = {
    "python": ("-c", "pass"),
    LAUNCHED: ("-c", "pass"),
    "prometheus_client": ("-c", "import prometheus_client"),
    "poolscope": ("-c", "import prometheus_client, poolscope"),
    "poolscope --version": ("-m", "poolscope", "--version"),
}


def measure(number: int) -> Rounds:
    """Return the milliseconds of CPU of `number` processes of each program."""
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for name in PROGRAMS:
        run_program(name)  # writes the compiled modules
    for _ in range(number):
        for name in PROGRAMS:
            times[name].append(run_program(name))
    return times


def run_program(name: str) -> float:
    """Run a program in a new process; return its CPU time in milliseconds."""
    paths = {"PYTHONPATH": SITE} if name == LAUNCHED else {}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(  # noqa: S603 - our own
        [THIS_PYTHON, *PROGRAMS[name]],
        check=True,
        cwd=os.path.sep,
        env={**environment(), **paths},
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return seconds * 1000
