"""HTTP to addresses that strangers chose: only public ones, pinned, with bounds on everything.

Names are resolved and checked by us at the moment of connecting (`addresses.py`), and the connection goes to the
checked address; TLS and `Host` keep the name. Connections are kept and reused, each to the address it was
checked for.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urljoin, urlsplit

from getpatter._version import __version__
from getpatter.errors import PatterConnectionError
from getpatter.net.addresses import (
    AddressRefusedError,
    Resolve,
    checked_addresses,
    judge_url,
    resolve,
)
from getpatter.net.messages import HttpRequest, HttpResponse
from getpatter.net.refusals import unreachable
from getpatter.net.tls import loaded_client_context

if TYPE_CHECKING:
    import httpcore

CONNECT_LIMIT_S: Final = 5.0
_IDLE_S: Final = 30.0
_CONNECTIONS: Final = 100
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_ENCODINGS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Window bits of zlib for each compression that is understood."""


class NotSentError(PatterConnectionError):
    """No connection came about, so nothing was sent: asking again cannot do anything twice."""


class PublicHttp:
    """Sends requests to wherever a program's or a stranger's URL leads. Shared by all calls of a loop."""

    def __init__(
        self,
        what: str,
        *,
        allow_private: bool = False,
        ask: Resolve = resolve,
        connect_timeout: float = CONNECT_LIMIT_S,
    ) -> None:
        """Connects when it is first used.

        Args:
            what: What the requests are for; named in errors.
            allow_private: Let them go anywhere. For development.
            ask: Who knows the addresses of a name.
            connect_timeout: Seconds for name, TCP and TLS.
        """
        self._what = what
        self._allow_private = allow_private
        self._ask = ask
        self._connect_timeout = connect_timeout
        self._pool: httpcore.AsyncConnectionPool | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, request: HttpRequest, *, max_body: int, timeout: float) -> HttpResponse:  # noqa: ASYNC109 - a limit, not a wish
        """Send `request` once; returns the answer, whatever its status.

        A redirect is followed once, to the same host over `https`, and otherwise is the answer.

        Args:
            request: What to send. Its address is judged again.
            max_body: Bytes of the longest answer that is read, after decompression.
            timeout: Seconds for all of it.

        Raises:
            AddressRefusedError: the address is not public.
            NotSentError: nobody could be reached.
            PatterConnectionError: no answer, one that came too late, or one that is too long.
        """
        try:
            async with asyncio.timeout(timeout):
                answer = await self._once(request, max_body)
                target = _same_host_over_tls(request.url, answer)
                if target is None:
                    return answer
                method = "GET" if answer.status == 303 else request.method  # noqa: PLR2004
                body = b"" if method == "GET" else request.body
                return await self._once(
                    HttpRequest(method, target, request.headers, body), max_body
                )
        except TimeoutError as error:
            raise unreachable(
                self._what, f"no answer within {timeout:g} s", timed_out=True
            ) from error

    async def aclose(self) -> None:
        """Close all connections. Idempotent; a later request would open new ones."""
        pool, self._pool = self._pool, None
        if pool is not None and self._loop is asyncio.get_running_loop():
            await pool.aclose()

    # -------------------------------------------------------------------------------------- one request

    async def _once(self, request: HttpRequest, max_body: int) -> HttpResponse:
        try:
            judge_url(request.url, allow_private=self._allow_private)
        except ValueError as error:
            raise AddressRefusedError(f"{self._what}: {error}") from error
        pool = await self._connected()
        headers = {
            "User-Agent": f"getpatter/{__version__}",
            "Accept-Encoding": "gzip, deflate",
            **request.headers,
        }
        async with (
            self._translated(),
            pool.stream(
                request.method,
                _encoded(request.url),
                headers=[(name.encode(), value.encode()) for name, value in headers.items()],
                content=request.body or None,
                extensions={"timeout": {"connect": self._connect_timeout}},
            ) as response,
        ):
            plain = _plain(response.headers)
            body = await self._body(response.aiter_stream(), plain, max_body)
            return HttpResponse(response.status, plain, body)

    async def _body(self, pieces: Any, headers: Mapping[str, str], max_body: int) -> bytes:
        unpack = _Unpacker(headers.get("content-encoding", ""), max_body)
        async for piece in pieces:
            if not unpack.push(piece):
                raise PatterConnectionError(
                    f"{self._what}: the answer is longer than {max_body} bytes", retryable=False
                )
        return bytes(unpack.body)

    @asynccontextmanager
    async def _translated(self) -> AsyncGenerator[None, None]:
        import httpcore  # noqa: PLC0415 - loads as slowly as httpx; see `http.py`

        try:
            yield
        except (httpcore.ConnectError, httpcore.ConnectTimeout, OSError) as error:
            raise NotSentError(f"{self._what}: cannot be reached") from error
        except httpcore.PoolTimeout as error:
            raise NotSentError(f"{self._what}: too many requests at once") from error
        except (
            httpcore.TimeoutException,
            httpcore.NetworkError,
            httpcore.ProtocolError,
            zlib.error,
        ) as error:
            raise unreachable(self._what, f"broke off: {type(error).__name__}") from error
        except httpcore.UnsupportedProtocol as error:
            raise AddressRefusedError(f"{self._what}: not an address of HTTP") from error

    # -------------------------------------------------------------------------------------- connections

    async def _connected(self) -> httpcore.AsyncConnectionPool:
        loop = asyncio.get_running_loop()
        if self._pool is not None and self._loop is loop:
            return self._pool
        context = await loaded_client_context()
        if self._pool is None or self._loop is not loop:
            import httpcore  # noqa: PLC0415 - see above

            self._loop = loop
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=context,
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_CONNECTIONS,
                keepalive_expiry=_IDLE_S,
                network_backend=_pinned_backend(self._ask, allow_private=self._allow_private),
            )
        return self._pool


def _pinned_backend(ask: Resolve, *, allow_private: bool) -> httpcore.AsyncNetworkBackend:
    import httpcore  # noqa: PLC0415 - see above

    plain = cast(
        "httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend()
    )  # typed away without anyio

    class Pinned(httpcore.AsyncNetworkBackend):
        """Connects to addresses that were checked, and to nothing else."""

        async def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,  # noqa: ASYNC109 - the signature of the base
            local_address: str | None = None,
            socket_options: Iterable[Any] | None = None,
        ) -> httpcore.AsyncNetworkStream:
            async with asyncio.timeout(timeout):
                addresses = await checked_addresses(
                    host, port, ask=ask, allow_private=allow_private
                )
            last: Exception = OSError("the name has no address")
            share = None if timeout is None else timeout / len(addresses)
            for address in addresses:
                try:
                    return await plain.connect_tcp(
                        address,
                        port,
                        timeout=share,
                        local_address=local_address,
                        socket_options=socket_options,
                    )
                except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                    last = error
            raise last

        async def sleep(self, seconds: float) -> None:
            await plain.sleep(seconds)

    return Pinned()


class _Unpacker:
    """Collects a body that may be compressed. It never holds more than the limit, whatever is inside."""

    def __init__(self, encoding: str, limit: int) -> None:
        self.body = bytearray()
        self._limit = limit
        encoding = encoding.strip().lower()
        if encoding not in {"", "identity", *_ENCODINGS}:
            raise PatterConnectionError("the answer is compressed in a way that was not offered")
        bits = _ENCODINGS.get(encoding)
        self._unzip = None if bits is None else zlib.decompressobj(bits)

    def push(self, piece: bytes) -> bool:
        """False when the body would grow beyond the limit."""
        room = self._limit - len(self.body) + 1
        self.body += piece if self._unzip is None else self._unzip.decompress(piece, room)
        return len(self.body) <= self._limit


def _same_host_over_tls(url: str, answer: HttpResponse) -> str | None:
    """Where a redirect leads, if it may be followed."""
    location = answer.headers.get("location", "")
    if answer.status not in _REDIRECTS or not location:
        return None
    try:
        target = urljoin(url, location)
        there, here = urlsplit(target), urlsplit(url)
        is_same = there.scheme == "https" and there.hostname == here.hostname
    except ValueError:
        return None
    return target if is_same else None


def _encoded(url: str) -> str:
    """The URL in ASCII: its host as IDNA, everything else percent-encoded."""
    import httpx  # noqa: PLC0415 - see above

    return str(httpx.URL(url))


def _plain(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
