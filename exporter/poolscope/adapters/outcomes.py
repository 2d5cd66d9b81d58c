"""How an attempt to get a connection ends that does not get one."""

from __future__ import annotations

from poolscope.ledger import cells


def outcome_of(error: BaseException, timeout: type[Exception]) -> int:
    """
    Return `cells.TIMEOUT`, `ERROR` or `CANCELLED`: how the attempt ended that raised `error`.

    timeout: what the pool's library raises when no connection was free in time.
    """
    if isinstance(error, timeout):
        return cells.TIMEOUT
    # A cancelled task or greenlet raises what is no Exception, and so does `sys.exit()`.
    return cells.ERROR if isinstance(error, Exception) else cells.CANCELLED
