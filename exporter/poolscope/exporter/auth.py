"""Basic authentication against bcrypt hashes, which are slow by design."""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Final

from aiohttp import web

from poolscope.exporter import hashes
from poolscope.exporter.guard import Place
from poolscope.exporter.networks import LOCAL
from poolscope.exporter.password_queue import BusyError, PasswordQueue

MAX_CACHED_OUTCOMES: Final = 1000
"""Of accepted passwords, and again of rejected ones."""

CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="poolscope"'}


class BasicAuth:
    """
    Checks the names and passwords of clients.

    Outcomes are cached under a key that does not reveal the password. Accepted passwords have a
    cache of their own, so that somebody who guesses cannot push them out.
    """

    def __init__(self, users: Mapping[str, str] | None = None) -> None:
        self._secret = secrets.token_bytes(32)
        self._queue = PasswordQueue()
        self._cached_outcomes: dict[bool, OrderedDict[bytes, None]] = {
            True: OrderedDict(),
            False: OrderedDict(),
        }
        self.set_users(users or {})

    def set_users(self, users: Mapping[str, str]) -> None:
        """Replace the users, a bcrypt hash by name; without users every request is allowed."""
        self._users = {name.encode(): hashed.encode() for name, hashed in users.items()}
        # Each check costs as much as one of the slowest hash, so that the time of an answer does
        # not reveal which names exist. Names that do not are checked against a hash that no
        # password has.
        self._cost = max(map(hashes.cost_of, self._users.values()), default=10)
        self._dummy_hash = hashes.dummy(self._cost)

    def close(self) -> None:
        """Answer at once whoever waits for a check; requests that come later are refused."""
        self._queue.close()

    async def check_request(
        self, request: web.Request, place: Place | None = None
    ) -> web.Response | None:
        """
        Return the response that rejects the request, or None if it is allowed.

        place: that of its connection.
        """
        if not self._users:
            return None
        header = request.headers.get("Authorization", "")
        network, guessed = (LOCAL, False) if place is None else (place.network, place.guessed)
        try:
            if await self.check_header(header, network, guessed):
                return None
        except BusyError:
            text = "503: too many passwords are being checked; try again\n"
            busy = web.Response(status=503, text=text, headers={"Retry-After": "1"})
            busy.force_close()
            return busy
        if place is not None and header:
            place.guessed = True
        return web.Response(status=401, text="401: Unauthorized\n", headers=CHALLENGE)

    async def check_header(self, header: str, network: str = LOCAL, guessed: bool = False) -> bool:
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
        check = self._queue.find(key)
        if check is None:
            work = partial(hashes.matches, password, against, self._cost)
            check = self._queue.add(key, network, work, guessed)
            check.outcome.add_done_callback(partial(self._remember, key, hashed is not None))
        # Shielded: a client that disconnects must not cancel the check that others wait for.
        accepted = await asyncio.shield(check.outcome) and hashed is not None
        if accepted:
            self._queue.trust(network)
        return accepted

    def _remember(self, key: bytes, known: bool, outcome: asyncio.Future[bool]) -> None:
        if outcome.cancelled() or outcome.exception() is not None:
            return
        keys = self._cached_outcomes[outcome.result() and known]
        keys[key] = None
        if len(keys) > MAX_CACHED_OUTCOMES:
            keys.popitem(last=False)


def _parse_credentials(header: str) -> tuple[bytes, bytes] | None:
    """Return the name and the password in a header, or None if it is malformed."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(text.strip(), validate=True).partition(b":")
    except ValueError:
        return None
    return (user, password[: hashes.MAX_PASSWORD_BYTES]) if colon else None
