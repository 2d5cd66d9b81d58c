"""Ports of localhost that are reserved, though no process listens on them."""

from __future__ import annotations

import atexit
import functools
import random
import socket
from typing import Final

# Below the range from which the system picks a free port.
NUMBERS: Final = range(20000, 30000)


@functools.cache
def closed_port() -> int:
    """Return a port that refuses connections: this process binds it, and does not listen."""
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
    A port for a process that takes a port number, and that may be restarted.

    The reservation is the UDP port of the same number, which is bound until `give_back`. Other
    test processes try to bind it too, and then take another number.
    """

    def __init__(self) -> None:
        for number in random.sample(NUMBERS, len(NUMBERS)):
            mark = socket.socket(type=socket.SOCK_DGRAM)
            try:
                mark.bind(("127.0.0.1", number))
                with socket.socket() as trial:
                    trial.bind(("127.0.0.1", number))
            except OSError:
                mark.close()
                continue
            self.number, self._mark = number, mark
            return
        raise AssertionError("all ports are taken")

    def give_back(self) -> None:
        self._mark.close()
