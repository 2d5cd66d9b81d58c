"""The exporter's socket, and what the web config file wants of those who come."""

from __future__ import annotations

import asyncio
import logging
import socket
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from ssl import SSLContext
from typing import Final

from aiohttp import web

from poolscope.exporter.auth import BasicAuth
from poolscope.exporter.web_config import ClientPolicy, WebConfig, load

logger = logging.getLogger("poolscope.exporter")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Signature = tuple[tuple[int, ...] | None, ...]

LISTEN_BACKLOG: Final = 128


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens; 0 is any port that is free. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # Of a name that has addresses of both families, most clients try the older one too.
    addresses = sorted({(family, address) for family, _, _, _, address in found})
    for family, address in addresses[:-1]:
        try:
            return _bind_address(family, address)
        except OSError:
            continue  # the last one says why
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
    Serves on one socket, under what the file at `path` says, and whatever it says later.

    The socket listens as long as this is open: while one site makes room for the next, whoever
    comes waits in its queue. `tick` returns each time that the files are to be looked at.
    """

    def __init__(
        self,
        bound: socket.socket,
        path: Path | None = None,
        tick: Callable[[], Awaitable[object]] = _wait_one_second,
    ) -> None:
        self._socket = bound
        self._path = path
        self._tick = tick
        self._config = WebConfig()
        self._auth = BasicAuth()
        self._policies: weakref.WeakKeyDictionary[SSLContext, ClientPolicy | None] = (
            weakref.WeakKeyDictionary()
        )
        self._runner: web.BaseRunner | None = None
        self._site: _Site | None = None
        self._poll_task: asyncio.Task[None] | None = None
        self._load_lock = asyncio.Lock()
        self._loaded_signature: Signature = ()
        self._seen_signature: Signature = ()
        self._last_error: tuple[Signature, str] | None = None

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        host, port = self._socket.getsockname()[:2]
        scheme = "http" if self._config.context is None else "https"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    def install(self, app: web.Application) -> None:
        """Let nobody reach the application who may not; before it is set up."""
        app.middlewares.append(self._check_access)
        app.on_response_prepare.append(self._add_headers)

    async def start(self, runner: web.AppRunner) -> None:
        """Serve it, which is set up; raises WebConfigError or OSError."""
        self._runner = runner
        await self._load()
        if self._path is not None:
            self._poll_task = asyncio.create_task(self._poll())

    async def close(self) -> None:
        """Listen no more; whoever is connected stays so until the runner ends."""
        if self._poll_task is not None:
            self._poll_task.cancel()
            await asyncio.gather(self._poll_task, return_exceptions=True)
        if self._site is not None:
            await self._site.stop()
            self._site = None
        self._socket.close()

    async def reload_if_changed(self) -> None:
        """Load the files again if they are others, and the same as at the last look."""
        async with self._load_lock:
            # One that is being written is not read: an empty file would open the door.
            before = self._seen_signature
            self._seen_signature = await asyncio.to_thread(_signature, self._config.files)
            if self._seen_signature == before != self._loaded_signature:
                await self._reload()

    async def _poll(self) -> None:
        while True:
            await self._tick()
            await self.reload_if_changed()

    async def _reload(self) -> None:
        try:
            await self._load()
        except Exception as error:
            said = self._seen_signature, str(error)
            if said != self._last_error:
                logger.error("kept what was loaded before: %s", error)
            self._last_error = said
        else:
            self._last_error = None
            logger.info("loaded %s again", self._path)

    async def _load(self) -> None:
        before, config = self._config, WebConfig()
        seen: Signature = ()
        if self._path is not None:
            config, seen = await asyncio.to_thread(_load_stable, self._path, before.files)
        # What is asked of those who come stands before they can.
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
            raise RuntimeError("it was not started")
        site = _Site(self._runner, self._socket.dup(), context)
        await site.start()
        before, self._site = self._site, site
        if before is not None:
            await before.stop()

    @web.middleware
    async def _check_access(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        context = request.get_extra_info("sslcontext")
        policy = self._policies.get(context) if context is not None else None
        response: web.StreamResponse | None
        if policy != self._config.client_policy:
            # It was connected when others were let in.
            text = "421: the configuration has changed; connect again\n"
            response = web.Response(status=421, text=text)
        elif policy is not None and not policy.allows(request.get_extra_info("peercert")):
            text = "403: no name of the certificate is among client_allowed_sans\n"
            response = web.Response(status=403, text=text)
        else:
            response = await self._auth.check_request(request)
        if response is None:
            response = await handler(request)
        if context is not self._config.context:
            response.force_close()  # so that it gets the new certificate
        return response

    async def _add_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._config.headers)


class _Site:
    """One way to serve the socket, of which it has a duplicate of its own."""

    def __init__(
        self, runner: web.BaseRunner, own: socket.socket, context: SSLContext | None
    ) -> None:
        self._socket = own
        self._site = web.SockSite(runner, own, ssl_context=context, backlog=LISTEN_BACKLOG)

    async def start(self) -> None:
        try:
            await self._site.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        # asyncio drops what it has accepted but not begun to serve when a server is closed.
        asyncio.get_running_loop().remove_reader(self._socket)
        await asyncio.sleep(0)
        await self._site.stop()
        self._socket.close()


def _load_stable(path: Path, expected: tuple[Path, ...]) -> tuple[WebConfig, Signature]:
    """Load the file; the signature is older than that, so that no change goes unnoticed."""
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
