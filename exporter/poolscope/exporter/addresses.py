"""The addresses that the exporter listens at, and the sockets of each."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

LISTEN_BACKLOG: Final = 128
MAX_PORT: Final = 65535

SOCKET_MODE: Final = 0o660
"""Of the file of a Unix socket: its owner and its group may connect, such as a proxy."""

NOT_AVAILABLE: Final = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))
"""What an address of a family that this host does not have fails with."""

MAX_TRIES: Final = 20
"""Of finding a port that is free at every address of a name."""

HOST_NAME: Final = re.compile(r"(?!-)[\w-]+(\.[\w-]+)*\.?", re.ASCII)

FIRST_PASSED_DESCRIPTOR: Final = 3
"""systemd passes its sockets from this descriptor on."""


class AddressError(Exception):
    """An address cannot be listened at. The message is one line that names it."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """
    A name or a number, and a port; port 0 is any free port.

    Host "" is all addresses of the host, of both families, and "::" is the same.
    """

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix socket."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = TcpAddress | UnixAddress
Target = tuple[socket.AddressFamily, tuple[object, ...]]


class Endpoint:
    """A socket that listens; `remove` is called once it is closed."""

    def __init__(self, listening: socket.socket, remove: Callable[[], object] = lambda: None):
        self.socket = listening
        self._remove = remove

    def url(self, scheme: str) -> str:
        """Return the address that clients use, without a path."""
        name = self.socket.getsockname()
        if not isinstance(name, tuple):
            path = os.fsdecode(name).replace("\0", "@", 1)  # an abstract name has no file
            return f"unix:{path}:"
        host, port = name[:2]
        if ":" in host:
            zone = f"%25{socket.if_indextoname(name[3])}" if name[3] else ""
            host = f"[{host}{zone}]"
        return f"{scheme}://{host}:{port}"

    def close(self) -> None:
        """Close the socket, and remove its file if it has one that is still its own."""
        if self.socket.fileno() >= 0:
            self._remove()
            self.socket.close()


def parse_address(text: str) -> Address:
    """Return the address that a text names; raises ValueError with a message of one line."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.strip("/"):
            raise ValueError(f"{text!r} does not name a file, such as unix:/run/poolscope.sock")
        return UnixAddress(Path(path))
    host, colon, number = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (":" in host and not bracketed):
        raise ValueError(
            f"{text!r} is not HOST:PORT, such as 127.0.0.1:10464 or [::1]:10464, nor unix:PATH"
        )
    if not (number.isascii() and number.isdigit() and int(number[:9]) <= MAX_PORT):
        raise ValueError(f"{number!r} is not a port, a whole number from 0 to {MAX_PORT}")
    if bracketed:
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError(f"{host!r} is not an address of IPv6") from None
    elif host and not HOST_NAME.fullmatch(host):
        raise ValueError(f"{host!r} is not the name or the address of a host")
    return TcpAddress(host, int(number))


def listen(addresses: Iterable[Address]) -> list[Endpoint]:
    """
    Return a socket or several for each address, all of them listening.

    Raises AddressError if one address cannot be listened at; then nothing stays open.
    """
    with ExitStack() as opened:
        endpoints = []
        for address in addresses:
            try:
                for endpoint in _listen_at(address):
                    opened.callback(endpoint.close)
                    endpoints.append(endpoint)
            except (OSError, UnicodeError) as error:
                why = getattr(error, "strerror", None) or error
                raise AddressError(f"cannot listen at {address}: {why}") from error
        opened.pop_all()
    return endpoints


def _listen_at(address: Address) -> list[Endpoint]:
    if isinstance(address, UnixAddress):
        return [_listen_unix(address.path)]
    if address.host in {"", "::"}:
        return [Endpoint(_listen_everywhere(address))]
    return [Endpoint(each) for each in _listen_tcp(address)]


def _listen_everywhere(address: TcpAddress) -> socket.socket:
    """Listen on one socket for both families, or for IPv4 where there is no IPv6."""
    try:
        return _bind(socket.AF_INET6, ("::", address.port), both_families=True)
    except OSError as error:
        if address.host or error.errno not in NOT_AVAILABLE:
            raise
    return _bind(socket.AF_INET, ("0.0.0.0", address.port))  # noqa: S104 - as it was asked for


def _listen_tcp(address: TcpAddress) -> list[socket.socket]:
    """Listen at every address that the name has; port 0 becomes the same port for all of them."""
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    # IPv4 sorts first, so that it is the first in the log.
    targets = sorted({(family, target) for family, _, _, _, target in found})
    for _ in range(MAX_TRIES):
        try:
            return _bind_each(targets)
        except OSError as error:
            if address.port or len(targets) == 1 or error.errno != errno.EADDRINUSE:
                raise
    return _bind_each(targets)


def _bind_each(targets: Sequence[Target]) -> list[socket.socket]:
    """Listen at each target that this host has, and at the port that the first of them got."""
    with ExitStack() as opened:
        bound: list[socket.socket] = []
        unavailable = None
        for family, target in targets:
            port = bound[0].getsockname()[1] if bound else target[1]
            try:
                bound.append(opened.enter_context(_bind(family, (target[0], port, *target[2:]))))
            except OSError as error:
                if error.errno not in NOT_AVAILABLE:
                    raise
                unavailable = error
        if unavailable is not None and not bound:
            raise unavailable
        opened.pop_all()
    return bound


def _bind(
    family: socket.AddressFamily, target: tuple[object, ...], both_families: bool = False
) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both_families)
        bound.setblocking(False)
        bound.bind(target)
        bound.listen(LISTEN_BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound


def _listen_unix(path: Path) -> Endpoint:
    """Listen on a new file; that of a process that has ended is replaced."""
    path = path.absolute()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        with _only_one_at_a_time(path.parent):
            try:
                bound.bind(os.fspath(path))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                _remove_stale(path)
                bound.bind(os.fspath(path))
            endpoint = Endpoint(bound, partial(_remove_own, path, _identity(path)))
            try:
                # Nobody can connect before it listens, so the mode it is made with lets nobody in.
                path.chmod(SOCKET_MODE)
                bound.listen(LISTEN_BACKLOG)
            except BaseException:
                endpoint.close()
                raise
    except BaseException:
        bound.close()
        raise
    return endpoint


def _remove_own(path: Path, own: tuple[int, int]) -> None:
    with suppress(OSError):
        if _identity(path) == own:
            path.unlink()


@contextmanager
def _only_one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, so that no other exporter takes the new socket for a stale one."""
    import fcntl  # Windows has none

    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Remove the socket file of a process that has ended; raises OSError for anything else."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise FileExistsError(errno.EEXIST, "the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)
        try:
            trial.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError:
            pass  # its queue is full, or it is not ours
    raise OSError(errno.EADDRINUSE, "another process listens there")


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def passed_by_systemd() -> list[Endpoint]:
    """
    Return the sockets that systemd passes to this process, and forget that it did.

    Raises AddressError if there are none, or if one is not a stream socket that listens.
    """
    process, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if process != str(os.getpid()) or not count.isdecimal() or int(count) < 1:
        raise AddressError(
            "--web.systemd-socket: systemd has passed no socket to this process (LISTEN_PID and "
            "LISTEN_FDS); start it from a .socket unit, or name addresses to listen at instead"
        )
    with ExitStack() as opened:
        endpoints = []
        for descriptor in range(FIRST_PASSED_DESCRIPTOR, FIRST_PASSED_DESCRIPTOR + int(count)):
            endpoint = Endpoint(_passed_socket(descriptor))
            opened.callback(endpoint.close)
            endpoints.append(endpoint)
        opened.pop_all()
    return endpoints


def _passed_socket(descriptor: int) -> socket.socket:
    named = f"--web.systemd-socket: descriptor {descriptor}"
    try:
        passed = socket.socket(fileno=descriptor)
    except OSError as error:
        raise AddressError(f"{named} is not a socket: {error.strerror}") from error
    listens = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if passed.type != socket.SOCK_STREAM or not listens:
        passed.close()
        raise AddressError(f"{named} is not a stream socket that listens; use ListenStream=")
    passed.setblocking(False)
    passed.set_inheritable(False)
    return passed
