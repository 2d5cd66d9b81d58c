"""What the aiohttp machine needs: a server, a resolver, and a connector that counts."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from hypothesis import strategies as st

if TYPE_CHECKING:  # aiohttp 3.9 does not have it
    from aiohttp.abc import ResolveResult

QUICK: Final = ("one.example", "two.example")
SLOW: Final = "slow.example"
STUCK: Final = "stuck.example"
UNKNOWN: Final = "unknown.example"
REFUSED: Final = "refused.example"

CLOSE_WAIT: Final = 8
"""What Linux calls the state of a TCP connection that the other side has closed."""


class Server:
    """
    A real web server on a free port of the loopback interface; paths are `/WHAT/NUMBER`.

    go_on: by number, the event that ends the body of that response, or lets it be answered.
    out: the connections on which a request is being served, with the request's number.
    """

    port: int
    stuck: asyncio.Server
    stuck_port: int

    def __init__(self) -> None:
        self.go_on: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)
        self.later_ones: set[int] = set()
        self.out: dict[Any, int] = {}
        self.sockets: dict[int, web.WebSocketResponse] = {}
        self.server = web.Server(self.serve, access_log=None)
        # Handlers of responses that no client reads any more wait until they are told to end.
        self.runner = web.ServerRunner(self.server, shutdown_timeout=0.01)

    @classmethod
    async def started(cls) -> Self:
        self = cls()
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.port = self.runner.addresses[0][1]
        loop = asyncio.get_running_loop()
        # Accepts connections, and never answers the TLS handshake.
        self.stuck = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        self.stuck_port = self.stuck.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        for event in self.go_on.values():
            event.set()
        self.stuck.close()
        await self.runner.cleanup()

    def url(self, host: str, what: str, number: int) -> str:
        if host == STUCK:
            return f"https://{host}:{self.stuck_port}/"
        if host == REFUSED:
            return f"http://{host}:1/"
        return f"http://{host}:{self.port}/{what}/{number}"

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.transport is None:
            return web.Response()  # to nobody
        _, what, word = request.path.split("/")
        number = int(word)
        self.out[request.protocol] = number
        try:
            answer: web.StreamResponse = await getattr(self, what)(request, number)
            return answer
        except ConnectionError:
            return web.Response()  # to nobody
        finally:
            self.out.pop(request.protocol, None)

    async def now(self, request: web.BaseRequest, number: int) -> web.Response:
        return web.Response(text="now")

    async def last(self, request: web.BaseRequest, number: int) -> web.Response:
        return web.Response(text="last", headers={"Connection": "close"})

    async def redirect(self, request: web.BaseRequest, number: int) -> web.Response:
        return web.Response(status=302, headers={"Location": f"/now/{number}"})

    async def elsewhere(self, request: web.BaseRequest, number: int) -> web.Response:
        other = self.url(QUICK[request.host.startswith(QUICK[0])], "now", number)
        return web.Response(status=302, headers={"Location": other})

    async def later(self, request: web.BaseRequest, number: int) -> web.Response:
        self.later_ones.add(number)
        await self.go_on[number].wait()
        return web.Response(text="later")

    async def stream(self, request: web.BaseRequest, number: int) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun ")
        await self.go_on[number].wait()
        if request.transport is not None:
            await response.write_eof(b"ended")
        return response

    async def socket(self, request: web.BaseRequest, number: int) -> web.StreamResponse:
        upgraded = web.WebSocketResponse()
        await upgraded.prepare(request)
        self.sockets[number] = upgraded
        try:
            async for _ in upgraded:
                pass
        finally:
            del self.sockets[number]
        return upgraded

    def answer(self, number: int) -> None:
        """End the body of a response, or send the answer for which a request waits."""
        self.later_ones.discard(number)
        self.go_on.pop(number, asyncio.Event()).set()

    def connections(self) -> int:
        """Return how many connections are open on both sides."""
        # A lost connection stays in the list until the handler of its request has ended.
        transports = [protocol.transport for protocol in self.server.connections]
        return sum(transport is not None and _is_open(transport) for transport in transports)

    def unanswered(self) -> set[int]:
        """Return the numbers of requests that have arrived and were not answered yet."""
        return self.later_ones.intersection(self.serving())

    def hang_up_idle(self) -> None:
        """Close all idle connections, as a server does when their keep-alive time is over."""
        for protocol in self.server.connections:
            if protocol not in self.out:
                protocol.force_close()

    def serving(self) -> dict[int, Any]:
        """Return by number the transports on which requests are being served."""
        return {
            number: protocol.transport
            for protocol, number in self.out.items()
            if protocol.transport is not None
        }

    def drop(self, number: int, reset: bool) -> None:
        """Close or abort the connection on which a request is being served."""
        transport = self.serving()[number]
        transport.abort() if reset else transport.close()


class Names(AbstractResolver):
    """Resolves every name to loopback: the slow one when told to, the unknown one never."""

    def __init__(self) -> None:
        self.pending: list[asyncio.Future[None]] = []
        self.answered = self.failed = 0

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        if host == SLOW:
            turn = asyncio.get_running_loop().create_future()
            self.pending.append(turn)
            try:
                await turn
            except OSError:
                self.failed += 1
                raise
            finally:
                self.pending.remove(turn)
        if host == UNKNOWN:
            self.failed += 1
            raise OSError(-2, "no such host")
        self.answered += 1
        address: Any = {
            "hostname": host,
            "host": "127.0.0.1",
            "port": port,
            "family": socket.AF_INET,
            "proto": 0,
            "flags": 0,
        }
        return [address]

    def end(self, well: bool) -> None:
        """Let the look-ups that hang end."""
        for turn in self.pending:
            if not turn.done():
                turn.set_result(None) if well else turn.set_exception(OSError(-3, "try again"))

    async def close(self) -> None:
        pass


class ClosingResponse(aiohttp.ClientResponse):
    """
    A response whose `close` closes its connection, as in all versions but aiohttp 3.9.0.

    In 3.9.0 a cancelled request leaves its connection to the next request, which then gets the
    answer to the cancelled one.
    """

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        super().close()


class CountingConnector(aiohttp.TCPConnector):
    """
    A connector that counts its attempts itself, whether it is watched or not.

    asked, served: how many attempts to get a connection have begun, and have succeeded.
    connecting: how many attempts have not ended, by host.
    given_up: the tasks whose attempt has failed or was cancelled.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked = self.served = 0
        self.connecting: Counter[str] = Counter()
        self.given_up: set[Any] = set()
        self._left: list[tuple[str, Any]] = []

    def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        # Counted before the coroutine begins, which an exception that lands here may prevent.
        self.asked += 1
        return self._connect(req, traces, timeout)

    async def _connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        self.connecting[req.url.host] += 1
        try:
            connection = await super().connect(req, traces, timeout)
        except BaseException:
            self.given_up.add(asyncio.current_task())
            raise
        finally:
            self.connecting[req.url.host] -= 1
        self.served += 1
        return connection

    def _close(self, **options: Any) -> Any:
        # aiohttp 3.9 forgets its waiters, which then wait until they are cancelled.
        self._left = self.waiters()
        return super()._close(**options)

    # Private structures of aiohttp, checked with 3.9.0 and 3.14.5: `_acquired` holds protocols
    # and placeholders, `_conns` sequences of (protocol, time), `_waiters` collections of futures.

    def out(self) -> int:
        """
        Return how many open connections are in use.

        A lost connection is in use until its response is given up, but is not open any more.
        """
        handlers = [key for key in self._acquired if isinstance(key, ResponseHandler)]
        return sum(handler.is_connected() for handler in handlers)

    def opening(self) -> int:
        """Return how many connections are being opened; a closed connector does not know."""
        if self.closed:
            return sum(self.connecting.values()) - len(self.waiters())
        return sum(not isinstance(key, ResponseHandler) for key in self._acquired)

    def idle(self) -> Counter[str]:
        """Return the idle connections by host, without those that the server has closed."""
        return Counter(
            key.host
            for key, kept in self._conns.items()
            for protocol, *_ in kept
            if protocol.is_connected()
        )

    def waiters(self) -> list[tuple[str, Any]]:
        """Return the host and the future of each attempt that waits for a slot."""
        waiters = [(key.host, waiter) for key, queue in self._waiters.items() for waiter in queue]
        return [(host, waiter) for host, waiter in waiters + self._left if not waiter.done()]

    def full(self, host: str) -> bool:
        """Whether a request to the host would have to wait."""
        key: Any = next((key for key in self._acquired_per_host if key.host == host), None)
        return self._available_connections(key) <= 0

    def expire(self) -> None:
        """Do what the connector's timer does when all idle connections have expired."""
        self._keepalive_timeout, kept = -1.0, self._keepalive_timeout
        self._cleanup()
        self._keepalive_timeout = kept


@dataclass(frozen=True)
class Options:
    """Options of a connector; `expired`: every idle connection is too old to be used."""

    limit: int
    limit_per_host: int
    force_close: bool
    use_dns_cache: bool
    expired: bool
    watch_session: bool

    def connector(self) -> CountingConnector:
        kept = {"keepalive_timeout": -1.0} if self.expired and not self.force_close else {}
        return CountingConnector(
            limit=self.limit,
            limit_per_host=self.limit_per_host,
            force_close=self.force_close,
            use_dns_cache=self.use_dns_cache,
            ttl_dns_cache=None,
            resolver=Names(),
            **kept,
        )


rarely = st.sampled_from((False, False, False, True))
options = st.builds(
    Options, st.integers(1, 3), st.integers(0, 2), rarely, st.booleans(), rarely, st.booleans()
)


def _is_open(transport: asyncio.BaseTransport) -> bool:
    """
    Whether the client has not closed the connection. A server that has stopped reading does not
    notice that.
    """
    client = transport.get_extra_info("socket")
    state = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return bool(state != CLOSE_WAIT)
