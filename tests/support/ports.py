"""Ports that no other process gets, though nobody listens there."""

from __future__ import annotations

import atexit
import functools
import random
import socket
from typing import Final

# Below those that a system gives to whoever wants any.
NUMBERS: Final = range(20000, 30000)


@functools.cache
def closed_port() -> int:
    """Return a port of localhost that refuses: this process has it, and does not listen."""
    both = socket.has_dualstack_ipv6()
    taken = socket.socket(socket.AF_INET6 if both else socket.AF_INET)
    if both:
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    taken.bind(("", 0))
    atexit.register(taken.close)
    port: int = taken.getsockname()[1]
    return port


class ReservedPort:
    """
    A port for a process that has to be told a number, also one that is started again.

    Who reserves it has the UDP port of that number until it is given back; others of these look
    there first.
    """

    def __init__(self) -> None:
        for number in random.sample(NUMBERS, len(NUMBERS)):
            mark = socket.socket(type=socket.SOCK_DGRAM)
            try:
                mark.bind(("127.0.0.1", number))
                with socket.socket() as tried:
                    tried.bind(("127.0.0.1", number))
            except OSError:
                mark.close()
                continue
            self.number, self._mark = number, mark
            return
        raise AssertionError("all ports are taken")

    def give_back(self) -> None:
        self._mark.close()
