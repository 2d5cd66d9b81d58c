"""bcrypt hashes: which are accepted, and how much work it is to check a password."""

from __future__ import annotations

import re
from typing import Final

import bcrypt

MAX_COST: Final = 14
"""A check takes about a second at this cost, and twice as long with each step above it."""

MAX_PASSWORD_BYTES: Final = 72
"""bcrypt ignores what comes after these bytes of a password, or refuses it."""

BCRYPT_HASH: Final = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")


def why_refused(hashed: object) -> str | None:
    """Return what is wrong with the hash of a password, or None; the hash is not repeated."""
    malformed = 'must be a bcrypt hash, such as `htpasswd -nBC 10 ""` makes'
    if not isinstance(hashed, str) or not BCRYPT_HASH.fullmatch(hashed):
        return malformed
    if cost_of(hashed.encode()) > MAX_COST:
        return f"must have a cost of at most {MAX_COST}, as each check of a password costs that"
    try:
        bcrypt.checkpw(b"", f"$2b$04${hashed[7:]}".encode())
    except ValueError:  # not every salt of these characters is one
        return malformed
    return None


def cost_of(hashed: bytes) -> int:
    """Return the cost of a hash: a check is 2^cost rounds of work."""
    return int(hashed[4:6])


def dummy(cost: int) -> bytes:
    """Return a hash of this cost that no password has."""
    return b"$2b$%02d$" % cost + b"." * 53


def matches(password: bytes, hashed: bytes, cost: int) -> bool:
    """Return whether the password is right, after as much work as a hash of this cost needs."""
    try:
        right = bcrypt.checkpw(password, hashed)
        # The work doubles with each step of the cost: 2^n + (2^n + 2^(n+1) + ...) is 2^cost.
        for missing in range(cost_of(hashed), cost):
            bcrypt.checkpw(password, dummy(missing))
    except ValueError:  # this version of bcrypt refuses the password or the hash
        return False
    return right
