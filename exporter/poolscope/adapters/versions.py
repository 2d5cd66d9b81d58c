"""Which versions of a pool's library are supported."""

from __future__ import annotations

import re


def require(library: str, installed: str, oldest: str) -> None:
    """
    Raise RuntimeError if `installed` is older than `oldest`.

    Only the leading numbers of both are compared; a version that begins with none is accepted.
    """
    if _numbers(installed) and _numbers(installed) < _numbers(oldest):
        raise RuntimeError(
            f"poolscope supports {library} {oldest} and later, but {installed} is installed"
        )


def _numbers(version: str) -> tuple[int, ...]:
    leading = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in leading.group().split(".")) if leading else ()
