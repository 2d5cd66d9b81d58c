"""What the exporter listens at: addresses of both families, names, Unix sockets, systemd's."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from poolscope.exporter import addresses
from poolscope.exporter.addresses import (
    SOCKET_MODE,
    Address,
    AddressError,
    Endpoint,
    TcpAddress,
    UnixAddress,
    parse_address,
)

Listen = Callable[..., list[Endpoint]]
EVERYWHERE = "0.0.0.0"  # noqa: S104 - as users may


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Returns a function that listens at addresses; in the end all of them are closed."""
    opened: list[Endpoint] = []

    def listen(*texts: str) -> list[Endpoint]:
        made = addresses.listen([parse_address(text) for text in texts])
        opened.extend(made)
        return made

    yield listen
    for endpoint in opened:
        endpoint.close()


@pytest.fixture
def ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as trial:
            trial.bind(("::1", 0))
    except OSError:
        pytest.skip("there is no IPv6")


def connects(family: int, target: Any) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        return client.connect_ex(target) == 0


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (":10464", TcpAddress("", 10464)),
            ("[::]:0", TcpAddress("::", 0)),
            ("0.0.0.0:1", TcpAddress(EVERYWHERE, 1)),
            ("db:9", TcpAddress("db", 9)),
            ("db-1.example.org.:9", TcpAddress("db-1.example.org.", 9)),
            ("[fe80::1%eth0]:65535", TcpAddress("fe80::1%eth0", 65535)),
            ("unix:/run/x.sock", UnixAddress(Path("/run/x.sock"))),
            ("unix:x:80", UnixAddress(Path("x:80"))),
        ],
    )
    def test_good_ones(self, text: str, expected: Address) -> None:
        assert expected == parse_address(text)
        if not isinstance(expected, UnixAddress):
            assert text == str(expected)

    @pytest.mark.parametrize(
        "text",
        [
            "", ":", "10464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", ":65536", ":-1", ":+1",
            ": 1", ":\u0661", ":1\n", "::1:10464", "[::1]", "[::1:80", "::1]:80", "[]:80",
            "[db]:80", "[127.0.0.1]:80", "http://db:80", "db/x:80", "a b:80", "-db:80", "a..b:80",
            "db\n:80", "d\u00e9:80", "unix:", "unix:/", "unix", f":{'9' * 5000}",
        ],
    )  # fmt: skip
    def test_bad_ones_are_one_line(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            parse_address(text)


@pytest.mark.usefixtures("ipv6")
class TestFamilies:
    @pytest.mark.parametrize("text", [":0", "[::]:0"])
    def test_all_addresses_are_those_of_both(self, listen: Listen, text: str) -> None:
        (endpoint,) = listen(text)
        port = endpoint.socket.getsockname()[1]
        assert f"http://[::]:{port}" == endpoint.url("http")
        assert connects(socket.AF_INET, ("127.0.0.1", port))
        assert connects(socket.AF_INET6, ("::1", port))

    @pytest.mark.parametrize(
        ("text", "four", "six", "url"),
        [
            ("0.0.0.0:0", True, False, "https://0.0.0.0:{}"),
            ("127.0.0.1:0", True, False, "https://127.0.0.1:{}"),
            ("[::1]:0", False, True, "https://[::1]:{}"),
        ],
    )
    def test_one_address_is_that_of_one(
        self, listen: Listen, text: str, four: bool, six: bool, url: str
    ) -> None:
        (endpoint,) = listen(text)
        port = endpoint.socket.getsockname()[1]
        assert url.format(port) == endpoint.url("https")
        assert four == connects(socket.AF_INET, ("127.0.0.1", port))
        assert six == connects(socket.AF_INET6, ("::1", port))

    def test_an_address_of_a_zone(self, listen: Listen) -> None:
        lines = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines()]
        local = [(line[0], line[5]) for line in lines if line[0].startswith("fe80")]
        if not local:
            pytest.skip("no interface has a local address")
        digits, zone = local[0]
        host = ":".join(digits[at : at + 4] for at in range(0, 32, 4))
        (endpoint,) = listen(f"[{host}%{zone}]:0")
        port = endpoint.socket.getsockname()[1]
        assert endpoint.url("http").endswith(f"%25{zone}]:{port}")
        with pytest.raises(AddressError, match=r"cannot listen at .*%nothing"):
            listen("[fe80::1%nothing]:0")

    def test_without_ipv6_all_addresses_are_those_of_ipv4(
        self, listen: Listen, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(addresses, "_bind", bind_without({socket.AF_INET6}))
        (endpoint,) = listen(":0")
        assert endpoint.url("http").startswith("http://0.0.0.0:")
        with pytest.raises(AddressError, match=r"cannot listen at \[::\]:0: "):
            listen("[::]:0")


def bind_without(families: set[int], error: int = errno.EAFNOSUPPORT) -> Any:
    """Return a `_bind` that fails for these families."""
    bind = addresses._bind

    def bind_others(family: int, *words: Any, **options: Any) -> Any:
        if family in families:
            raise OSError(error, os.strerror(error))
        return bind(family, *words, **options)  # type: ignore[arg-type] # it is passed on

    return bind_others


@pytest.mark.usefixtures("ipv6")
class TestNames:
    @pytest.fixture(autouse=True)
    def both(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The name `both` has an address of each family, twice."""

        def look_up(host: str, port: int, **_: Any) -> list[Any]:
            six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
            four = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
            assert "both" == host
            return [six, four, six, four]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    def test_all_addresses_of_a_name_have_the_same_port(self, listen: Listen) -> None:
        four, six = listen("both:0")
        assert four.socket.getsockname()[1] == six.socket.getsockname()[1]
        assert [socket.AF_INET, socket.AF_INET6] == [four.socket.family, six.socket.family]

    @pytest.mark.parametrize("error", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
    def test_an_address_that_this_host_has_not_is_left_out(
        self, listen: Listen, monkeypatch: pytest.MonkeyPatch, error: int
    ) -> None:
        monkeypatch.setattr(addresses, "_bind", bind_without({socket.AF_INET6}, error))
        (endpoint,) = listen("both:0")
        assert socket.AF_INET == endpoint.socket.family
        monkeypatch.setattr(
            addresses, "_bind", bind_without({socket.AF_INET, socket.AF_INET6}, error)
        )
        with pytest.raises(AddressError, match="cannot listen at both:0: "):
            listen("both:0")

    def test_one_address_that_is_taken_is_an_error(self, listen: Listen) -> None:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(AddressError, match=f"cannot listen at both:{port}: .* in use"):
                listen(f"both:{port}")
            assert not connects(socket.AF_INET, ("127.0.0.1", port))


class TestAllOrNothing:
    @pytest.mark.parametrize("place", range(4))
    def test_one_that_cannot_be_bound_closes_the_others(
        self, place: int, short_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        good: list[Address] = [
            TcpAddress("127.0.0.1", 0), TcpAddress("", 0), UnixAddress(short_path / "x.sock"),
        ]  # fmt: skip
        good.insert(place, UnixAddress(short_path / "none" / "x.sock"))
        closed: list[Endpoint] = []
        close = Endpoint.close

        def close_and_note(endpoint: Endpoint) -> None:
            closed.append(endpoint)
            close(endpoint)

        monkeypatch.setattr(Endpoint, "close", close_and_note)
        before = set(Path("/proc/self/fd").iterdir())
        with pytest.raises(AddressError) as error:
            addresses.listen(good)
        assert f"cannot listen at unix:{short_path}/none/x.sock: No such file or directory" == str(
            error.value
        )
        assert place == len(closed)
        # What other tests have left may be closed meanwhile.
        assert set(Path("/proc/self/fd").iterdir()) <= before
        assert [] == list(short_path.iterdir())

    def test_the_same_address_twice_is_an_error(self, listen: Listen) -> None:
        port = listen("127.0.0.1:0")[0].socket.getsockname()[1]
        with pytest.raises(AddressError, match=rf"cannot listen at 127.0.0.1:{port}: .* in use"):
            listen(f"127.0.0.1:{port}")


class TestUnixSockets:
    @pytest.mark.parametrize("mask", [0o000, 0o022, 0o777])
    def test_its_owner_and_group_may_connect(
        self, listen: Listen, short_path: Path, mask: int
    ) -> None:
        path = short_path / "x.sock"
        before = os.umask(mask)
        try:
            (endpoint,) = listen(f"unix:{path}")
        finally:
            os.umask(before)
        assert SOCKET_MODE == stat.S_IMODE(path.stat().st_mode) == 0o660
        assert f"unix:{path}:" == endpoint.url("http")
        assert connects(socket.AF_UNIX, str(path))
        endpoint.close()
        assert not path.exists()

    def test_that_of_a_process_that_has_ended_is_replaced(
        self, listen: Listen, short_path: Path
    ) -> None:
        path = short_path / "x.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        listen(f"unix:{path}")
        assert connects(socket.AF_UNIX, str(path))

    @pytest.mark.parametrize("crowded", [False, True], ids=["idle", "with a full queue"])
    def test_that_of_a_process_that_lives_is_refused(
        self, listen: Listen, short_path: Path, crowded: bool
    ) -> None:
        path = short_path / "x.sock"
        with socket.socket(socket.AF_UNIX) as living, socket.socket(socket.AF_UNIX) as client:
            living.bind(str(path))
            living.listen(0)
            if crowded:
                client.connect(str(path))
            with pytest.raises(AddressError, match=r"x\.sock: another process listens there"):
                listen(f"unix:{path}")
            assert path.is_socket()

    @pytest.mark.parametrize("kind", ["file", "folder", "link", "fifo"])
    def test_what_is_no_socket_is_refused_and_stays(
        self, listen: Listen, short_path: Path, kind: str
    ) -> None:
        path = short_path / "x.sock"
        make: dict[str, Callable[[], object]] = {
            "file": lambda: path.write_text("mine"),
            "folder": path.mkdir,
            "link": lambda: path.symlink_to(short_path / "nowhere"),
            "fifo": lambda: os.mkfifo(path),
        }
        make[kind]()
        with pytest.raises(AddressError, match=r"x\.sock: the file exists and is not a socket"):
            listen(f"unix:{path}")
        assert os.path.lexists(path)

    def test_the_file_of_another_is_not_removed(self, listen: Listen, short_path: Path) -> None:
        path = short_path / "x.sock"
        (first,) = listen(f"unix:{path}")
        path.unlink()
        (second,) = listen(f"unix:{path}")
        first.close()
        assert connects(socket.AF_UNIX, str(path))
        second.close()
        second.close()
        assert not path.exists()

    def test_of_many_that_start_at_once_one_takes_a_stale_file(self, short_path: Path) -> None:
        path = short_path / "x.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        together = threading.Barrier(8)
        won: list[Endpoint] = []
        lost: list[str] = []

        def start() -> None:
            together.wait()
            try:
                won.extend(addresses.listen([UnixAddress(path)]))
            except AddressError as error:
                lost.append(str(error))

        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [f"cannot listen at unix:{path}: another process listens there"] * 7 == lost
        assert connects(socket.AF_UNIX, str(path))
        won[0].close()

    def test_a_path_that_is_too_long_is_an_error(self, listen: Listen, tmp_path: Path) -> None:
        with pytest.raises(AddressError, match=r"unix:.*: AF_UNIX path too long"):
            listen(f"unix:{tmp_path / ('x' * 200)}")


PASSED = """
import os, sys
from poolscope.exporter.addresses import AddressError, passed_by_systemd
os.environ["LISTEN_PID"] = os.environ.get("LISTEN_PID") or str(os.getpid())
try:
    endpoints = passed_by_systemd()
except AddressError as error:
    print(error)
else:
    print(*(each.url("http") for each in endpoints))
    print(*(os.get_inheritable(each.socket.fileno()) for each in endpoints))
    for each in endpoints:
        each.close()
print(*(name for name in os.environ if name.startswith("LISTEN_")))
"""


def pass_sockets(passed: Sequence[Any], **environment: str) -> list[str]:
    """Run a process that has these as descriptors from 3 on, as systemd does it."""
    numbers = [each.fileno() for each in passed]

    def place() -> None:
        copies = [os.dup(number) for number in numbers]  # above those to be replaced
        for at, copy in enumerate(copies):
            os.dup2(copy, 3 + at)

    done = subprocess.run(
        [sys.executable, "-c", PASSED],
        env={**os.environ, "LISTEN_FDS": str(len(numbers)), "LISTEN_FDNAMES": "x", **environment},
        preexec_fn=place,
        pass_fds=[*range(3, 3 + len(numbers)), *numbers],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


class TestSystemd:
    def test_each_socket_that_is_passed_is_listened_at(self, short_path: Path) -> None:
        path = short_path / "x.sock"
        with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(path))
            unix.listen()
            port = tcp.getsockname()[1]
            lines = pass_sockets([tcp, unix])
        assert [f"http://127.0.0.1:{port} unix:{path}:", "False False", ""] == lines
        assert path.is_socket()  # it is systemd's

    @pytest.mark.parametrize(
        "environment",
        [
            {"LISTEN_FDS": "0"}, {"LISTEN_FDS": ""}, {"LISTEN_FDS": "x"}, {"LISTEN_FDS": "-1"},
            {"LISTEN_PID": "1"}, {"LISTEN_PID": "x"},
        ],
    )  # fmt: skip
    def test_none_is_a_clear_error(self, environment: dict[str, str]) -> None:
        error, names = pass_sockets([], **{"LISTEN_FDS": "1", **environment})
        assert error.startswith("--web.systemd-socket: systemd has passed no socket to this proc")
        assert "" == names

    def test_what_is_no_listening_stream_socket_is_named(self, tmp_path: Path) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as good,
            socket.socket() as silent,
            socket.socket(type=socket.SOCK_DGRAM) as datagrams,
            (tmp_path / "file").open("w") as file,
        ):
            for bad, why in {
                silent: "is not a stream socket that listens; use ListenStream=",
                datagrams: "is not a stream socket that listens; use ListenStream=",
                file: "is not a socket: Socket operation on non-socket",
            }.items():
                error, _ = pass_sockets([good, bad])
                assert f"--web.systemd-socket: descriptor 4 {why}" == error
