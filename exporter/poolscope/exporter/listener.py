"""The exporter's listening socket, with TLS and authentication from the web config file."""

from __future__ import annotations

import asyncio
import logging
import socket
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from ssl import SSLContext
from typing import Final

from aiohttp import web

from poolscope.exporter import logs, pages
from poolscope.exporter.auth import BasicAuth
from poolscope.exporter.connection import Connection
from poolscope.exporter.guard import Guard, Stage
from poolscope.exporter.hosts import Hosts
from poolscope.exporter.site import Site
from poolscope.exporter.web_config import ClientPolicy, WebConfig, load

logger = logging.getLogger("poolscope.exporter")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Signature = tuple[tuple[int, ...] | None, ...]

LISTEN_BACKLOG: Final = 128


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 means any free port. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # IPv4 sorts first. Clients of a name that has addresses of both families try IPv4 as well.
    addresses = sorted({(family, address) for family, _, _, _, address in found})
    for family, address in addresses[:-1]:
        try:
            return _bind_address(family, address)
        except OSError:
            continue  # the error of the last address is raised
    return _bind_address(*addresses[-1])


def _bind_address(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.setblocking(False)
        bound.bind(address)
        bound.listen(LISTEN_BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound


async def _wait_one_second() -> None:
    await asyncio.sleep(1.0)


class Listener:
    """
    Serves an application on one socket, as the web config file at `path` says.

    The file is loaded again when it changes. The socket keeps listening while one site replaces
    another: clients that connect meanwhile wait in its queue, and none is refused. Clients that are
    silent lose their connections; see `Guard`.

    tick: returns when it is time to check the files for changes.
    hosts: names that clients may use besides those of the loopback interface; see `Hosts`.
    """

    def __init__(
        self,
        bound: socket.socket,
        path: Path | None = None,
        tick: Callable[[], Awaitable[object]] = _wait_one_second,
        hosts: Iterable[str] = (),
    ) -> None:
        self._socket = bound
        self._path = path
        self._tick = tick
        self._config = WebConfig()
        self._auth = BasicAuth()
        self._hosts = Hosts(hosts)
        self._guard = Guard()
        self._sweep_task: asyncio.Task[None] | None = None
        self._policies: weakref.WeakKeyDictionary[SSLContext, ClientPolicy | None] = (
            weakref.WeakKeyDictionary()
        )
        self._runner: web.BaseRunner | None = None
        self._site: Site | None = None
        self._poll_task: asyncio.Task[None] | None = None
        self._load_lock = asyncio.Lock()
        self._loaded_signature: Signature = ()
        self._seen_signature: Signature = ()
        self._last_error: tuple[Signature, str] | None = None

    @property
    def url(self) -> str:
        """The address that clients use, without a path."""
        host, port = self._socket.getsockname()[:2]
        scheme = "http" if self._config.context is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def install(self, app: web.Application) -> None:
        """Install the authentication middleware; call this before the application is set up."""
        app.middlewares.append(self._check_access)
        app.on_response_prepare.append(self._add_headers)

    async def start(self, runner: web.AppRunner) -> None:
        """Serve the application of a runner that is set up; raises WebConfigError or OSError."""
        self._runner = runner
        await self._load()
        self._sweep_task = asyncio.create_task(self._sweep())
        if self._path is not None:
            self._poll_task = asyncio.create_task(self._poll())

    async def close(self) -> None:
        """Stop listening. Open connections stay until the runner is cleaned up."""
        self._auth.close()
        for task in (self._poll_task, self._sweep_task):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._site is not None:
            await self._site.stop()
            self._site = None
        self._socket.close()

    async def reload_if_changed(self) -> None:
        """Load the files again if they have changed, and have been stable since the last call."""
        async with self._load_lock:
            # A file that is still being written must not be loaded: an empty one has no passwords,
            # and would let everybody in.
            before = self._seen_signature
            self._seen_signature = await asyncio.to_thread(_signature, self._config.files)
            if self._seen_signature == before != self._loaded_signature:
                await self._reload()

    async def _sweep(self) -> None:
        while True:
            await _wait_one_second()
            if closed := self._guard.sweep():
                logger.debug("closed %s connections of clients that are silent", closed)

    async def _poll(self) -> None:
        while True:
            await self._tick()
            await self.reload_if_changed()

    async def _reload(self) -> None:
        try:
            await self._load()
        except Exception as error:
            failure = self._seen_signature, str(error)
            if failure != self._last_error:
                logger.error("cannot reload, keeping the old configuration: %s", error)
            self._last_error = failure
        else:
            self._last_error = None
            logger.info("reloaded %s", self._path)

    async def _load(self) -> None:
        before, config = self._config, WebConfig()
        seen: Signature = ()
        if self._path is not None:
            config, seen = await asyncio.to_thread(_load_stable, self._path, before.files)
        # The new rules must be in force before the new site accepts its first client.
        self._apply(config)
        if self._site is None or config.context is not before.context:
            try:
                await self._serve(config.context)
            except BaseException:
                self._apply(before)
                raise
        self._loaded_signature = self._seen_signature = seen

    def _apply(self, config: WebConfig) -> None:
        self._config = config
        self._auth.set_users(config.users)
        if config.context is not None:
            self._policies[config.context] = config.client_policy

    async def _serve(self, context: SSLContext | None) -> None:
        if self._runner is None:
            raise RuntimeError("call start() first")
        own = self._socket.dup()
        site = Site(self._runner, own, context, self._guard, self._headers, logs.BRIEF)
        try:
            await site.start()
        except BaseException:
            await site.stop()
            raise
        before, self._site = self._site, site
        if before is not None:
            await before.stop()

    @web.middleware
    async def _check_access(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.protocol
        place, any_host = None, True
        if isinstance(connection, Connection):
            place, any_host = connection.place, connection.any_host
            place.enter(Stage.WORKING)
        context = request.get_extra_info("sslcontext")
        policy = self._policies.get(context) if context is not None else None
        response: web.StreamResponse | None
        if policy != self._config.client_policy:
            # This client connected under other rules, which may have let it in too easily.
            text = "421: the configuration has changed; open a new connection\n"
            response = web.Response(status=421, text=text)
        elif policy is not None and not policy.allows(request.get_extra_info("peercert")):
            text = "403: client_allowed_sans has no name of this certificate\n"
            response = web.Response(status=403, text=text)
        else:
            response = None if any_host else self._hosts.refuse(request)
            response = response or await self._auth.check_request(request, place)
        if response is None:
            response = await handler(request)
        if context is not self._config.context:
            response.force_close()  # the next connection gets the new certificate
        return response

    def _headers(self) -> Mapping[str, str]:
        return {**pages.SECURITY_HEADERS, **self._config.headers}

    async def _add_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._config.headers)


def _load_stable(path: Path, expected: tuple[Path, ...]) -> tuple[WebConfig, Signature]:
    """
    Load the file, and return the signature of it and of the files that it names.

    The signature is taken before they are read, so that a change in between is noticed later.
    """
    while True:
        seen = _signature(expected)
        config = load(path)
        if config.files == expected:
            return config, seen
        expected = config.files


def _signature(paths: tuple[Path, ...]) -> Signature:
    return tuple(_file_signature(path) for path in paths)


def _file_signature(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
