"""
Run a state machine for a given number of operations, and print how often it did each.

    soak.py [--operations N] [--seed N] [ADAPTER ...]

Exits with 1 at the first difference, after hypothesis has printed the steps that lead to it.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import FlakyStrategyDefinition
from hypothesis.stateful import run_state_machine_as_test

from stateful.machine import PoolMachine
from stateful.machines import ADAPTERS, machine_of, running

STEPS = 100
"""Operations on one pool before the next pool is made."""

EXAMPLES = 50
"""Pools that are made before the operations are counted again."""


def soak(machine: type[PoolMachine], operations: int, first_seed: int) -> int:
    """Run the machine; return how many operations it did."""
    machine.done = Counter()
    number = first_seed
    while machine.done.total() < operations:
        remaining = operations - machine.done.total()
        options = settings(
            max_examples=max(1, min(EXAMPLES, remaining // STEPS + 1)),
            stateful_step_count=STEPS,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )
        try:
            run_state_machine_as_test(seed(number)(machine), settings=options)
        except FlakyStrategyDefinition:
            # The timing of threads and servers varies, so the same steps led to other choices.
            # That alone is no difference between a reading and the pool.
            if machine.differences:
                raise
            print(f"  seed {number}: stopped, because its timing could not be repeated", flush=True)
        print(f"  seed {number}: {machine.done.total()} operations so far", flush=True)
        number += 1
    return machine.done.total()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--operations", type=int, default=200_000, metavar="N")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("adapters", nargs="*", default=ADAPTERS, metavar="ADAPTER")
    options = parser.parse_args()
    if unknown := ", ".join(set(options.adapters).difference(ADAPTERS)):
        parser.error(f"no such adapter: {unknown}; there are {', '.join(ADAPTERS)}")
    # Time-outs are logged once a minute, and the minutes of the machines' clocks are short.
    logging.getLogger("poolscope").setLevel(logging.ERROR)
    with running():
        for adapter in options.adapters:
            print(f"{adapter}: {options.operations} operations, seed {options.seed}", flush=True)
            began = time.monotonic()
            total = soak(machine_of(adapter), options.operations, options.seed)
            print(
                f"{adapter}: {total} operations without a difference, "
                f"in {time.monotonic() - began:.0f} s"
            )
            for name, count in machine_of(adapter).done.most_common():
                print(f"  {count:8} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
