"""The exporter's listening sockets, with TLS and authentication from the web config file."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from ssl import SSLContext

from aiohttp import web

from poolscope.exporter import logs, pages
from poolscope.exporter.addresses import Endpoint
from poolscope.exporter.auth import BasicAuth
from poolscope.exporter.connection import Connection
from poolscope.exporter.guard import Guard, Stage
from poolscope.exporter.hosts import Hosts
from poolscope.exporter.site import Site
from poolscope.exporter.web_config import ClientPolicy, WebConfig, load

logger = logging.getLogger("poolscope.exporter")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Signature = tuple[tuple[int, ...] | None, ...]


async def _wait_one_second() -> None:
    await asyncio.sleep(1.0)


class Listener:
    """
    Serves an application on its sockets, as the web config file at `path` says.

    The file is loaded again when it changes: all of it is in use, or nothing. The sockets keep
    listening while sites replace others: clients that connect meanwhile wait in their queues, and
    none is refused. Clients that are silent lose their connections; see `Guard`.

    tick: returns when it is time to check the files for changes.
    hosts: names that clients may use besides those of the loopback interface; see `Hosts`.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        path: Path | None = None,
        tick: Callable[[], Awaitable[object]] = _wait_one_second,
        hosts: Iterable[str] = (),
    ) -> None:
        self._endpoints = endpoints
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
        self._sites: list[Site] = []
        self._poll_task: asyncio.Task[None] | None = None
        self._load_lock = asyncio.Lock()
        self._loaded_signature: Signature = ()
        self._seen_signature: Signature = ()
        self._last_error: tuple[Signature, str] | None = None

    @property
    def urls(self) -> list[str]:
        """The addresses that clients use, without a path."""
        scheme = "http" if self._config.context is None else "https"
        return [endpoint.url(scheme) for endpoint in self._endpoints]

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
        sites, self._sites = self._sites, []
        try:
            for site in sites:
                await site.stop()
        finally:
            for endpoint in self._endpoints:
                endpoint.close()

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

    def reload_soon(self) -> None:
        """Load the files again at the next tick, whether they have changed or not."""
        if self._path is None:
            logger.info("there is no web config file to load again")
        self._loaded_signature = ()
        self._last_error = None

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
        config = WebConfig()
        seen: Signature = ()
        if self._path is not None:
            files, again = self._config.files, bool(self._sites)
            config, seen = await asyncio.to_thread(_load_stable, self._path, files, again)
        await self._use(config)
        self._loaded_signature = self._seen_signature = seen

    async def _use(self, config: WebConfig) -> None:
        """Use all of a configuration, or go on with all of the one before."""
        before = self._config
        new = not self._sites or config.context is not before.context
        sites = self._make_sites(config.context) if new else []
        try:
            # The new rules must be in force before a new site accepts its first client.
            self._apply(config)
            for site in sites:
                await site.start()
        except BaseException:
            self._apply(before)
            for site in sites:
                await site.stop()
            raise
        if new:
            sites, self._sites = self._sites, sites
            for site in sites:
                await site.stop()

    def _apply(self, config: WebConfig) -> None:
        self._auth.set_users(config.users)
        self._config = config
        if config.context is not None:
            self._policies[config.context] = config.client_policy

    def _make_sites(self, context: SSLContext | None) -> list[Site]:
        if self._runner is None:
            raise RuntimeError("call start() first")
        runner = self._runner
        with ExitStack() as copies:
            own = [copies.enter_context(each.socket.dup()) for each in self._endpoints]
            copies.pop_all()
        return [Site(runner, each, context, self._guard, self._headers, logs.BRIEF) for each in own]

    @web.middleware
    async def _check_access(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.protocol
        if isinstance(connection, Connection):
            connection.place.enter(Stage.WORKING)
        response: web.StreamResponse | None = None
        config = None
        while config is not self._config:  # another one may be loaded while a password is checked
            config = self._config
            response = await self._refuse(request)
        if response is None:
            response = await handler(request)
        if request.get_extra_info("sslcontext") is not self._config.context:
            response.force_close()  # the next connection gets the new certificate
        return response

    async def _refuse(self, request: web.Request) -> web.Response | None:
        """Return the response that refuses the request, or None if it is allowed."""
        connection = request.protocol
        place, any_host = None, True
        if isinstance(connection, Connection):
            place, any_host = connection.place, connection.any_host
        context = request.get_extra_info("sslcontext")
        policy = self._policies.get(context) if context is not None else None
        if policy != self._config.client_policy:
            # This client connected under other rules, which may have let it in too easily.
            text = "421: the configuration has changed; open a new connection\n"
            return web.Response(status=421, text=text)
        if policy is not None and not policy.allows(request.get_extra_info("peercert")):
            text = "403: client_allowed_sans has no name of this certificate\n"
            return web.Response(status=403, text=text)
        refusal = None if any_host else self._hosts.refuse(request)
        if refusal is not None:  # of old aiohttp, an answer is a mapping, and false if empty
            return refusal
        return await self._auth.check_request(request, place)

    def _headers(self) -> Mapping[str, str]:
        return {**pages.SECURITY_HEADERS, **self._config.headers}

    async def _add_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._config.headers)


def _load_stable(
    path: Path, expected: tuple[Path, ...], again: bool
) -> tuple[WebConfig, Signature]:
    """
    Load the file, and return the signature of it and of the files that it names.

    The signature is taken before they are read, so that a change in between is noticed later.
    """
    while True:
        seen = _signature(expected)
        config = load(path, again)
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
