"""A real PgBouncer for a real PostgreSQL, and a relay that can stop answering."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from support.ports import ReservedPort
from support.tools import required
from support.waiting import eventually

INI = """
[databases]
* = host={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = {auth_type}
auth_file = {users}
admin_users = console
pool_mode = transaction
log_connections = 0
log_disconnections = 0
log_stats = 0
{options}
"""

USERS = '"console" "open sesame"\n"postgres" ""\n'


class Bouncer:
    """
    A PgBouncer on a free port of the loopback interface, with its files in `folder`.

    server: the folder of the PostgreSQL server's socket.
    """

    def __init__(self, folder: Path, server: Path, auth_type: str, **options: object) -> None:
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        users, self.ini = folder / "users", folder / "pgbouncer.ini"
        users.write_text(USERS)
        if os.geteuid() == 0:
            # PgBouncer refuses to run as root; the owner of the server can open its socket.
            options["user"] = server.owner()
        lines = "\n".join(f"{name} = {value}" for name, value in options.items())
        self.ini.write_text(
            INI.format(
                server=server, port=self.port, auth_type=auth_type, users=users, options=lines
            )
        )
        self.start()

    def start(self) -> None:
        """Start it, for the first time or again, and wait until it listens."""
        command = [required("pgbouncer", "pgbouncer"), str(self.ini)]
        started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.process: Any = started  # Any: its pipe is not None
        self._wait_until_it_listens()

    def _wait_until_it_listens(self) -> None:
        log = []
        for line in self.process.stderr:
            log.append(line)
            if "process up" in line:
                return
        raise AssertionError("".join(log))

    def dsn(self, database: str, user: str = "postgres", password: str = "") -> str:
        secret = f":{password}" if password else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def freeze(self) -> None:
        """Suspend it; the system still accepts connections for it."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it; it can be started again on the same port."""
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def end(self) -> None:
        """Kill it unless it has ended, and give its port back."""
        self.kill()
        self._reserved.give_back()


class Relay:
    """
    Relays connections from a free port of loopback to a server, and can discard the requests.

    server: the path of its socket, or None for a server that never answers.
    """

    def __init__(self, server: Path | None = None) -> None:
        self.server = server
        self.silent = server is None
        self.accepted = self.swallowed = self.serving = 0
        self.clients: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self.listening: Any = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.listening.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.serving += 1
        self.clients.add(writer)
        upstream = back = None
        try:
            if self.server:
                answers, upstream = await asyncio.open_unix_connection(self.server)
                back = asyncio.create_task(self._pump(answers, writer))
            await self._pump(reader, upstream)
        finally:
            self.clients.discard(writer)
            for side in (upstream, writer):
                if side is not None:
                    side.close()
            if back is not None:
                await back
            self.serving -= 1

    async def _pump(self, reader: Any, writer: Any) -> None:
        try:
            while data := await reader.read(65536):
                if self.silent:
                    self.swallowed += 1
                else:
                    writer.write(data)
        except ConnectionError:
            pass

    def hang_up(self) -> None:
        """Abort all connections of clients."""
        for client in self.clients:
            client.transport.abort()

    async def stop(self) -> None:
        self.listening.close()
        self.hang_up()
        await eventually(0, lambda: self.serving)
