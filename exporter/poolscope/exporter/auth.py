"""Basic authentication against bcrypt hashes, which are slow by design."""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import bcrypt
from aiohttp import web

MAX_PENDING_CHECKS: Final = 100
"""Checks that run or are queued; further requests are answered with status 503."""

MAX_CACHED_OUTCOMES: Final = 1000
"""Of accepted passwords, and again of rejected ones."""

BCRYPT_MAX_BYTES: Final = 72
"""bcrypt ignores what comes after these bytes of a password, or refuses it."""

CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="poolscope"'}


class BusyError(Exception):
    """Too many checks are queued already."""


class BasicAuth:
    """
    Checks the names and passwords of clients.

    Outcomes are cached under a key that does not reveal the password. Accepted passwords have a
    cache of their own, so that somebody who guesses cannot push them out.
    """

    def __init__(self, users: Mapping[str, str] | None = None) -> None:
        self._secret = secrets.token_bytes(32)
        self._bcrypt_slot = asyncio.Semaphore(1)
        self._pending_checks: dict[bytes, asyncio.Task[bool]] = {}
        self._cached_outcomes: dict[bool, OrderedDict[bytes, None]] = {
            True: OrderedDict(),
            False: OrderedDict(),
        }
        self.set_users(users or {})

    def set_users(self, users: Mapping[str, str]) -> None:
        """Replace the users, a bcrypt hash by name; without users every request is allowed."""
        self._users = {name.encode(): hashed.encode() for name, hashed in users.items()}
        # Unknown names are checked against this hash, which no password has. It is as slow as the
        # slowest of the real ones, so that the time of an answer does not reveal which names exist.
        cost = max((hashed[4:6] for hashed in self._users.values()), default=b"10")
        self._dummy_hash = b"$2b$" + cost + b"$" + b"." * 53

    async def check_request(self, request: web.Request) -> web.Response | None:
        """Return the response that rejects the request, or None if it is allowed."""
        try:
            if not self._users or await self.check_header(request.headers.get("Authorization", "")):
                return None
        except BusyError:
            text = "503: too many passwords are being checked; try again\n"
            return web.Response(status=503, text=text, headers={"Retry-After": "1"})
        return web.Response(status=401, text="401: Unauthorized\n", headers=CHALLENGE)

    async def check_header(self, header: str) -> bool:
        """Return whether an Authorization header is accepted; raises BusyError."""
        credentials = _parse_credentials(header)
        if credentials is None:
            return False
        user, password = credentials
        hashed = self._users.get(user)
        against = self._dummy_hash if hashed is None else hashed
        key = hmac.digest(self._secret, repr((user, against, password)).encode(), "sha256")
        for outcome, keys in self._cached_outcomes.items():
            if key in keys:
                keys.move_to_end(key)
                return outcome
        if key not in self._pending_checks:
            if len(self._pending_checks) >= MAX_PENDING_CHECKS:
                raise BusyError
            self._pending_checks[key] = asyncio.create_task(
                self._check_password(key, password, against, hashed is not None)
            )
        # Shielded: a client that disconnects must not cancel the check that others wait for.
        return await asyncio.shield(self._pending_checks[key])

    async def _check_password(
        self, key: bytes, password: bytes, against: bytes, known: bool
    ) -> bool:
        try:
            async with self._bcrypt_slot:
                matches = await asyncio.to_thread(_matches, password, against)
        finally:
            del self._pending_checks[key]
        outcome = matches and known
        keys = self._cached_outcomes[outcome]
        keys[key] = None
        if len(keys) > MAX_CACHED_OUTCOMES:
            keys.popitem(last=False)
        return outcome


def _parse_credentials(header: str) -> tuple[bytes, bytes] | None:
    """Return the name and the password in a header, or None if it is malformed."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(text.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return (user, password[:BCRYPT_MAX_BYTES]) if colon else None


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, hashed)
    except ValueError:  # this version of bcrypt refuses the password or the hash
        return False
