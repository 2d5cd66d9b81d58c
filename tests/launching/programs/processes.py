"""
Uses a pool in this process, or in children that `multiprocessing` or `subprocess` starts.

It prints the ids of the processes that have used a pool, and ends when its input does.

    python processes.py here|fork|spawn|forkserver|subprocess
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from typing import Any


def use(told: Any, over: Any) -> None:
    """Use a pool in a child, which then waits."""
    from service import answer

    told.put(int(answer()))
    over.wait()


def with_multiprocessing(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    told, over = context.Queue(), context.Event()
    children: list[Any] = [context.Process(target=use, args=(told, over)) for _ in range(2)]
    for child in children:
        child.start()
    tell([told.get() for _ in children])
    over.set()
    for child in children:
        child.join()


def with_subprocess() -> None:
    command = [sys.executable, __file__, "here"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    tell(json.loads(child.stdout.readline()))
    child.communicate()


def tell(pids: list[int]) -> None:
    print(json.dumps(pids), flush=True)  # noqa: T201 - the test reads it
    sys.stdin.read()


def main(how: str) -> None:
    if how == "here":
        from service import answer

        tell([int(answer())])
    elif how == "subprocess":
        with_subprocess()
    else:
        with_multiprocessing(how)


if __name__ == "__main__":
    main(sys.argv[1])
