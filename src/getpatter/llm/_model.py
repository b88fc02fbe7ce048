"""The shell of every model that answers with server-sent events: one request, one stream, limits, cancellation.

A vendor says what to ask (`_request`) and how its answer is read (`_reader`); both are pure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import ClassVar, Final, Self
from urllib.parse import urlsplit

from getpatter.errors import ErrorCode, PatterConnectionError, PatterError, WireError
from getpatter.llm._sse import AnswerReader, Item, Refused
from getpatter.llm._talk import Message
from getpatter.llm.base import LLMChunk
from getpatter.net.http import STREAM_LIMIT_S
from getpatter.net.messages import HttpRequest
from getpatter.net.refusals import clean_text, refusal, unreachable
from getpatter.net.service import Service
from getpatter.net.tasks import TaskNest
from getpatter.types import shown_url

FIRST_TOKEN_S: Final = 15.0
_TAIL_S: Final = 1.0
"""How long the count of tokens and the end mark are waited for, once the answer is complete."""
_DRAIN_S: Final = 0.1
"""How long the end of the body is waited for after the end mark: tools run only after it."""
_WARMUP_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Who:
    """Whose call an answer is for."""

    call_id: str = ""
    caller: str = field(default="", repr=False)


class Model(Service):
    """A language model of one vendor. Configuration only: connections are made by the first use or `warmup()`."""

    has_base_url: ClassVar[bool] = True
    """Whether it has to know where it is asked."""

    def __init__(
        self,
        api_key: str | None,
        *,
        model: str,
        base_url: str,
        timeout: float,
        options: Mapping[str, object],
    ) -> None:
        """`options` are the keywords of the constructor, for `repr` and pickles.

        Raises:
            ValueError: no key, no model, an address that is none, a limit that is not positive.
        """
        super().__init__(api_key, options)
        if not model:
            raise ValueError(f"{type(self).__name__}: model must not be empty")
        address = urlsplit(base_url)
        is_address = address.scheme in {"http", "https"} and bool(address.hostname)
        if not is_address and (base_url or self.has_base_url):
            raise ValueError(
                f"{type(self).__name__}: base_url must be http(s)://..., not {shown_url(base_url)!r}"
            )
        if not timeout > 0:
            raise ValueError(f"{type(self).__name__}: timeout must be positive, not {timeout!r}")
        self._model = str(model)
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout

    @property
    def model(self) -> str:
        """The model that is asked for, under the vendor's own name."""
        return self._model

    @property
    def base_url(self) -> str:
        """Where it is asked."""
        return self._base_url

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[Message] | None = None,
        *,
        cancel_event: asyncio.Event | None = None,
        call_id: str | None = None,
    ) -> AsyncGenerator[LLMChunk, None]:
        """Answer `messages` (OpenAI chat form): text as it comes, tool calls whole, usage, `done`.

        Setting `cancel_event`, closing the iterator or cancelling its task hangs up at once. After
        `cancel_event` the iterator just ends, without `done`.

        Raises:
            AuthenticationError: the vendor refuses the key.
            RateLimitError: it wants fewer requests.
            PatterConnectionError: another refusal, no connection, no word in time, an answer that broke off.
        """
        return self._answer(messages, tools, cancel_event, Who(call_id or ""))

    async def _answer(
        self,
        messages: Sequence[Message],
        tools: Sequence[Message] | None,
        cancel_event: asyncio.Event | None,
        who: Who,
    ) -> AsyncGenerator[LLMChunk, None]:
        if cancel_event is not None and cancel_event.is_set():
            return
        reader = self._reader()
        body = self._incoming(messages, tools, who)
        async with _Patience(cancel_event, self._timeout) as patience, aclosing(body):
            while not (reader.is_over or patience.is_cancelled):
                for item in await self._next(body, reader, patience):
                    if isinstance(item, Refused):
                        raise self._explained(self._reported(item), reader)
                    yield item
            if not patience.is_cancelled:
                await _drained(body)

    async def _next(
        self, body: AsyncGenerator[bytes, None], reader: AnswerReader, patience: _Patience
    ) -> list[Item]:
        """What the next bytes say; nothing when the waiting was cancelled."""
        tokens = reader.tokens
        data: bytes | None = None
        try:
            async with patience.limit(self._late(reader)):
                data = await anext(body, None)
            if patience.is_cancelled:
                return []
            items = reader.end() if data is None else reader.push(data)
        except PatterError as error:
            if not reader.is_complete:
                raise self._explained(error, reader) from error
            return reader.end()  # the answer is whole; what was lost is of no interest
        if data is None and not reader.is_complete and not reader.is_over:
            raise self._explained(unreachable(self.provider_key, "the answer broke off"), reader)
        if reader.is_complete:
            patience.renew(_TAIL_S)
        elif reader.tokens != tokens:
            patience.renew(self._timeout)
        return items

    async def warmup(self) -> None:
        """Open a connection, so that the first answer need not wait for one. Failures show at the first answer."""
        request = HttpRequest("HEAD", self._base_url)
        try:
            await self._connections.http.send(request, total_timeout=_WARMUP_S)
        except PatterError:
            return

    async def close(self) -> None:
        """Give back the connections. Idempotent."""
        await self._release()

    # --------------------------------------------------------------------- what a vendor decides

    def _incoming(
        self, messages: Sequence[Message], tools: Sequence[Message] | None, who: Who
    ) -> AsyncGenerator[bytes, None]:
        """The answer's bytes as they come."""
        return self._connections.http.stream(
            self._request(messages, tools, who),
            first_byte=self._timeout,
            total=max(STREAM_LIMIT_S, 2 * self._timeout),
        )

    def _request(
        self, messages: Sequence[Message], tools: Sequence[Message] | None, who: Who
    ) -> HttpRequest:
        raise NotImplementedError

    def _reader(self) -> AnswerReader:
        raise NotImplementedError

    def _translated(self, error: PatterError) -> PatterError:
        """A refusal in the words of this vendor, as the error it really is."""
        return error

    # ------------------------------------------------------------------------------------ errors

    def _late(self, reader: AnswerReader) -> str:
        what = "stopped in the middle of its answer" if reader.tokens else "did not begin to answer"
        return f"{self.provider_key}: {self._model} {what} within {self._timeout:g} s"

    def _reported(self, report: Refused) -> PatterError:
        if report.status:
            error: PatterError = refusal(
                self.provider_key, report.status, report.text, secrets=(self._key,)
            )
        else:
            error = PatterConnectionError(
                f"{self.provider_key}: {clean_text(report.text, (self._key,))}",
                code=ErrorCode.PROVIDER_ERROR,
                vendor=self.provider_key,
                retryable=False,
            )
        error.request_id = report.request_id
        return error

    def _explained(self, error: PatterError, reader: AnswerReader) -> PatterError:
        if isinstance(error, WireError):
            error = PatterConnectionError(
                f"{self.provider_key}: {clean_text(str(error), (self._key,))}",
                code=ErrorCode.PROVIDER_ERROR,
                vendor=self.provider_key,
            )
        error.vendor = error.vendor or self.provider_key
        error.request_id = error.request_id or reader.request_id
        return self._translated(error)


def refuse_unknown(owner: str, given: Mapping[str, object], known: frozenset[str]) -> None:
    """Keyword arguments are checked like those of any function.

    Raises:
        TypeError: one is not in `known`.
    """
    for name in given:
        if name not in known:
            raise TypeError(
                f"{owner}() got an unexpected keyword argument {name!r}; "
                f"for the request it takes {', '.join(sorted(known))}"
            )


async def _drained(body: AsyncGenerator[bytes, None]) -> None:
    """Read the end of the body: only then can its connection serve the next answer."""
    try:
        async with asyncio.timeout(_DRAIN_S):
            async for _ in body:
                pass
    except (TimeoutError, PatterError):
        pass  # the answer is complete; it costs a connection, no more


class _Patience:
    """How long an answer is waited for, and the event that ends the waiting."""

    def __init__(self, cancel_event: asyncio.Event | None, seconds: float) -> None:
        self._cancel_event = cancel_event
        self._ends_at = asyncio.get_running_loop().time() + seconds
        self._scope: asyncio.Timeout | None = None
        self._nest = TaskNest("answer")
        self.is_cancelled = False

    async def __aenter__(self) -> Self:
        if self._cancel_event is not None:
            self._nest.spawn(self._watch(self._cancel_event), "cancellation")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._nest.close()

    def renew(self, seconds: float) -> None:
        """The limit runs anew."""
        self._ends_at = asyncio.get_running_loop().time() + seconds

    @asynccontextmanager
    async def limit(self, late: str) -> AsyncGenerator[None, None]:
        """Around a wait: ends it in time, with the error `late`, or at once without one when cancelled."""
        try:
            async with asyncio.timeout_at(self._ends_at) as self._scope:
                yield
        except TimeoutError:
            if not self.is_cancelled:
                raise PatterConnectionError(late, code=ErrorCode.TIMEOUT) from None
        finally:
            self._scope = None

    async def _watch(self, event: asyncio.Event) -> None:
        await event.wait()
        self.is_cancelled = True
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())
