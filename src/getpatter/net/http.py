"""HTTP for everybody who only says what to ask: `Exchange`s of carriers, requests of providers.

One `HttpClient` for each destination, shared by all calls, so that connections are reused. It owns what an exchange
leaves out: sockets, time limits, and the decision to try again. A request is sent again only when that does no
harm: it is repeatable, or it is certain that nothing was sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from getpatter._version import __version__
from getpatter.errors import ErrorCode, PatterConnectionError, PatterError
from getpatter.net.messages import Exchange, HttpRequest, HttpResponse
from getpatter.net.refusals import clean_text, refusal, secrets_of, unreachable
from getpatter.net.tls import loaded_client_context

if TYPE_CHECKING:
    import httpx

__all__ = ["HttpClient", "refusal"]

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

CONNECT_LIMIT_S: Final = 5.0
TOTAL_LIMIT_S: Final = 10.0
FIRST_BYTE_LIMIT_S: Final = 10.0
STREAM_LIMIT_S: Final = 120.0
MAX_BODY: Final = 1024 * 1024
_BACK_OFF_S: Final = 0.25
_LONGEST_WAIT_S: Final = 5.0
_CONNECTIONS: Final = 100
_IDLE_S: Final = 60.0
_ERROR_BODY: Final = 16 * 1024


_is_ours: ContextVar[bool] = ContextVar("getpatter_http", default=False)


@asynccontextmanager
async def _unlogged() -> AsyncGenerator[None, None]:
    token = _is_ours.set(True)
    try:
        yield
    finally:
        _is_ours.reset(token)


def _is_not_ours(record: logging.LogRecord) -> bool:
    """True unless we sent it: httpx logs whole URLs, and ours may hold a phone number. Other users' lines pass."""
    del record
    return not _is_ours.get()


class HttpClient:
    """Sends requests to one destination over connections that are kept open. Shared by all calls of a loop."""

    def __init__(
        self,
        vendor: str,
        *,
        connect_timeout: float = CONNECT_LIMIT_S,
        total_timeout: float = TOTAL_LIMIT_S,
        max_body: int = MAX_BODY,
        jitter: Callable[[], float] = lambda: 0.5,
    ) -> None:
        """Connects when it is first used.

        Args:
            vendor: Named in errors.
            connect_timeout: Seconds for name, TCP and TLS.
            total_timeout: Seconds for one attempt, from the first step to the last byte of the answer.
            max_body: Bytes of the longest answer that is read, after decompression.
            jitter: A number from 0 to 1 that spreads repeated attempts of many calls; asked before each.
        """
        self._vendor = vendor
        self._connect_timeout = connect_timeout
        self._total_timeout = total_timeout
        self._max_body = max_body
        self._jitter = jitter
        self._client: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()

    async def run(self, exchange: Exchange[_T]) -> _T:
        """Run `exchange` to its end: send each request that it yields and give it the answer.

        What keeps a request from being answered is raised inside the exchange. Returns its result.
        """
        try:
            request = next(exchange)
            while True:
                try:
                    response = await self.send(request)
                except PatterError as error:
                    request = exchange.throw(error)
                else:
                    request = exchange.send(response)
        except StopIteration as done:
            result: _T = done.value
            return result
        finally:
            exchange.close()

    async def send(
        self, request: HttpRequest, *, total_timeout: float | None = None
    ) -> HttpResponse:
        """Send `request`, again where that is allowed and may help; returns the answer, whatever its status.

        Raises:
            PatterConnectionError: no answer, an answer that came too late, or one longer than `max_body`.
        """
        if not _is_http(request.url):
            raise self._bad_address(request)
        limit_s = self._total_timeout if total_timeout is None else total_timeout
        attempt = 1
        while True:
            try:
                response = await self._attempt(request, limit_s)
            except _AttemptFailedError as failed:
                if attempt == request.attempts or not (
                    request.is_repeatable or failed.nothing_was_sent
                ):
                    raise failed.error from failed.__cause__
                wait_s, reason = self._back_off(attempt), str(failed.error.code)
            else:
                asked = self._wait_before_repeating(request, response, attempt)
                if asked is None:
                    return response
                wait_s, reason = asked, str(response.status)
            logger.info(
                "http.repeated vendor=%s attempt=%d reason=%s wait_s=%.2f",
                self._vendor,
                attempt,
                reason,
                wait_s,
            )
            attempt += 1
            await asyncio.sleep(wait_s)

    async def stream(
        self,
        request: HttpRequest,
        *,
        first_byte: float = FIRST_BYTE_LIMIT_S,
        total: float = STREAM_LIMIT_S,
    ) -> AsyncGenerator[bytes, None]:
        """The body of the answer as it arrives, decompressed. Close it (`contextlib.aclosing`) to hang up early.

        `first_byte` and `total` are seconds from now. Before the first byte it tries again as `send` does.

        Raises:
            AuthenticationError: answered 401 or 403.
            RateLimitError: answered 429.
            PatterConnectionError: another refusal, no answer, silence, or a body that broke off.
        """
        if not _is_http(request.url):
            raise self._bad_address(request)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + total
        async with self._answer(request, min(first_byte, total)) as response:
            pieces = response.aiter_bytes()
            limit = min(loop.time() + first_byte, ends_at)
            while True:
                try:
                    async with self._translated(request, sent=True), asyncio.timeout_at(limit):
                        piece = await anext(pieces, None)
                except _AttemptFailedError as failed:
                    raise failed.error from failed.__cause__
                if piece is None:
                    return
                limit = ends_at
                yield piece

    async def aclose(self) -> None:
        """Close all connections. Idempotent; a later request would open new ones."""
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.aclose()

    # ----------------------------------------------------------------------------------- one attempt

    async def _attempt(self, request: HttpRequest, limit_s: float) -> HttpResponse:
        client = await self._connected()
        async with (
            _unlogged(),
            self._translated(request),
            asyncio.timeout(limit_s),
            client.stream(
                request.method,
                request.url,
                headers=dict(request.headers),
                content=request.body or None,
            ) as response,
        ):
            body = await self._body(response)
            return HttpResponse(response.status_code, _plain(response.headers), body)

    @asynccontextmanager
    async def _answer(
        self, request: HttpRequest, limit_s: float
    ) -> AsyncGenerator[httpx.Response, None]:
        """An answer with a status of success, its body not read yet."""
        client = await self._connected()
        built = client.build_request(
            request.method,
            request.url,
            headers=dict(request.headers),
            content=request.body or None,
        )
        attempt = 1
        while True:
            response: httpx.Response | None = None
            try:
                async with _unlogged(), self._translated(request), asyncio.timeout(limit_s):
                    response = await client.send(built, stream=True)
            except _AttemptFailedError as failed:
                if attempt == request.attempts or not (
                    request.is_repeatable or failed.nothing_was_sent
                ):
                    raise failed.error from failed.__cause__
                wait_s = self._back_off(attempt)
            else:
                if response.is_success:
                    break
                refused = await self._refused(request, response, limit_s)
                asked = self._wait_before_repeating(request, refused, attempt)
                if asked is None:
                    raise self._refusal(request, refused)
                wait_s = asked
            attempt += 1
            await asyncio.sleep(wait_s)
        try:
            yield response
        finally:
            await response.aclose()

    async def _refused(
        self, request: HttpRequest, response: httpx.Response, limit_s: float
    ) -> HttpResponse:
        body = b""
        try:
            async with self._translated(request, sent=True), asyncio.timeout(limit_s):
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > _ERROR_BODY:
                        break
        except _AttemptFailedError:
            pass  # the status is the answer; its text would have been welcome
        finally:
            await response.aclose()
        return HttpResponse(response.status_code, _plain(response.headers), body)

    def _refusal(self, request: HttpRequest, answer: HttpResponse) -> PatterError:
        return refusal(
            self._vendor,
            answer.status,
            answer.body.decode(errors="replace"),
            headers=answer.headers,
            secrets=secrets_of(request.url, request.headers),
        )

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > self._max_body:
                raise PatterConnectionError(
                    f"{self._vendor}: the answer is longer than {self._max_body} bytes",
                    vendor=self._vendor,
                    retryable=False,
                    status=response.status_code,
                )
        return bytes(body)

    @asynccontextmanager
    async def _translated(
        self, request: HttpRequest, *, sent: bool = False
    ) -> AsyncGenerator[None, None]:
        import httpx  # noqa: PLC0415 - a tenth of a second that a program without HTTP does not spend

        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            timed_out = isinstance(error, httpx.TimeoutException)
            what = f"cannot reach {_host(request.url)}: {self._said(request, error)}"
            raise _AttemptFailedError(
                unreachable(self._vendor, what, timed_out=timed_out), nothing_was_sent=not sent
            ) from error
        except (TimeoutError, httpx.TimeoutException) as error:
            what = f"{_host(request.url)} did not answer in time"
            raise _AttemptFailedError(
                unreachable(self._vendor, what, timed_out=True), nothing_was_sent=False
            ) from error
        except (httpx.HTTPError, httpx.StreamError) as error:
            what = f"lost {_host(request.url)}: {self._said(request, error)}"
            raise _AttemptFailedError(
                unreachable(self._vendor, what), nothing_was_sent=False
            ) from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise self._bad_address(request) from error

    def _bad_address(self, request: HttpRequest) -> PatterConnectionError:
        return PatterConnectionError(
            f"{self._vendor}: not an address that HTTP can reach: {_host(request.url)}",
            code=ErrorCode.INPUT_VALIDATION,
            vendor=self._vendor,
            retryable=False,
        )

    def _said(self, request: HttpRequest, error: Exception) -> str:
        text = clean_text(str(error), secrets_of(request.url, request.headers))
        return text or type(error).__name__

    # ---------------------------------------------------------------------------------- trying again

    def _wait_before_repeating(
        self, request: HttpRequest, response: HttpResponse, attempt: int
    ) -> float | None:
        """Seconds to wait before the next attempt; `None` when there shall be none."""
        is_passing = response.status == 429 or response.status >= 500  # noqa: PLR2004
        if not (request.is_repeatable and is_passing) or attempt == request.attempts:
            return None
        asked = retry_after(response.headers)
        if asked is None:
            return self._back_off(attempt)
        return asked if asked <= _LONGEST_WAIT_S else None

    def _back_off(self, attempt: int) -> float:
        doubled: float = _BACK_OFF_S * 2 ** (attempt - 1)
        return doubled * (0.5 + self._jitter())

    # ----------------------------------------------------------------------------------- connections

    async def _connected(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._client is not None and self._loop is loop:
            return self._client
        if self._loop is not loop:
            self._opening = asyncio.Lock()
            self._client, self._loop = None, loop
        async with self._opening:
            if self._client is None:
                self._client = await self._new_client()
            return self._client

    async def _new_client(self) -> httpx.AsyncClient:
        import httpx  # noqa: PLC0415 - see above

        logging.getLogger("httpx").addFilter(_is_not_ours)
        return httpx.AsyncClient(
            verify=await loaded_client_context(),
            timeout=httpx.Timeout(None, connect=self._connect_timeout, pool=self._connect_timeout),
            limits=httpx.Limits(
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_CONNECTIONS,
                keepalive_expiry=_IDLE_S,
            ),
            headers={"User-Agent": f"getpatter/{__version__}"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            # A proxy of the environment is for the world outside; on itself a machine needs none.
            mounts=dict.fromkeys(_ON_THIS_MACHINE),
        )


_ON_THIS_MACHINE: Final = ("all://localhost", "all://127.0.0.1", "all://[::1]")


class _AttemptFailedError(Exception):
    """No answer; `error` is what to raise when there is no further attempt."""

    def __init__(self, error: PatterConnectionError, *, nothing_was_sent: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.nothing_was_sent = nothing_was_sent


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a `Retry-After` header (RFC 9110, 10.2.3) asks for; a date counts from the answer's own."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        at, answered = parsedate_to_datetime(value), parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (at - answered).total_seconds())
    except (ValueError, TypeError):
        return None


def _plain(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or "no host"
    except ValueError:
        return "no host"
