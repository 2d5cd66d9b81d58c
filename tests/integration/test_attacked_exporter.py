"""An exporter under clients that mean no good: few descriptors, and slow checks at its end."""

from __future__ import annotations

import base64
import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import bcrypt
import pytest

from support.exporters import ExporterProcess, exporter

__all__ = ["exporter"]


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)))


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\nHo"])
def test_it_goes_on_when_silent_clients_take_all_descriptors(
    exporter: ExporterProcess, data: bytes
) -> None:
    assert 200 == exporter.get("/metrics")[0]
    few = len(list(Path(f"/proc/{exporter.process.pid}/fd").iterdir())) + 20
    resource.prlimit(exporter.process.pid, resource.RLIMIT_NOFILE, (few, few))
    with ExitStack() as clients:
        for number in range(300):
            client = clients.enter_context(connect(exporter.url))
            client.sendall(data)
            if number % 50 == 49:
                assert b"connpool_exporter" in exporter.get("/metrics")[2]
    assert 0 == exporter.stop()
    about = [each["message"] for each in exporter.log if "cannot accept" in each["message"]]
    assert [True] == [each.startswith("cannot accept connections: Too many open") for each in about]


@pytest.mark.parametrize("cost", [11, 14])
def test_it_ends_at_once_whatever_is_being_checked(folder: Path, tmp_path: Path, cost: int) -> None:
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    # Nobody has the password of such a hash; of cost 14, each check takes about a second.
    web_config = tmp_path / "web.yml"
    web_config.write_text(f"basic_auth_users: {{ann: {hashed}, bob: $2b${cost}${hashed[7:]}}}\n")
    exporter = ExporterProcess(folder, "--web.config.file", str(web_config))
    clients = [connect(exporter.url) for _ in range(50)]
    for number, client in enumerate(clients):
        given = base64.b64encode(b"bob:guess %d" % number)
        client.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic %s\r\n\r\n" % given
        )
    # The first answer says that all of them have been read: they are checked one after the other.
    assert clients[-1].recv(12) or clients[0].recv(12)
    assert 0 == exporter.stop()
    statuses = []
    for client in clients[:-1]:
        with client:
            statuses.append(client.recv(12).decode())
    assert len([each for each in statuses if each.endswith("503")]) >= 40, statuses
    clients[-1].close()
