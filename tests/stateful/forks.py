"""What a forked child of a machine finds, told to its parent."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def problem_in_child(look: Callable[[], None]) -> str:
    """
    Call `look` in a forked child; return the traceback of what it raised, or "".

    The child ends there and then: it runs nothing else, and closes nothing that it inherited.
    """
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        problem = "the child ended without a word"
        try:
            look()
            problem = ""
        except BaseException:
            problem = traceback.format_exc()
        finally:
            os.write(writable, problem.encode()[:60_000])
            os._exit(1 if problem else 0)
    os.close(writable)
    with open(readable, encoding="utf-8") as pipe:  # noqa: PTH123 - a descriptor
        problem = pipe.read()
    _, status = os.waitpid(child, 0)
    return problem or ("" if status == 0 else f"the child ended with status {status}")
