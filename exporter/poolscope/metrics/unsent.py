"""How much of their answers the system keeps for clients that do not read them."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Final

UNSENT_BYTES: Final = 65536
"""What the system takes of an answer before it can send it, besides what is on its way."""


def limit_unsent(listening: socket.socket) -> None:
    """
    Have the connections of a listening socket take little more than their clients read.

    Otherwise Linux takes 4 MiB for each of them, copies all of it, and keeps it in its own memory.
    Readers lose nothing: what is on its way to them is not limited.
    """
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux has it, and macOS
    if option is not None and listening.family != getattr(socket, "AF_UNIX", None):
        with suppress(OSError):  # the system does not know it
            listening.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)
