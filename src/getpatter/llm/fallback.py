"""Several models for one call: when one fails before its first word, the next one answers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, Final, Self, cast

from getpatter.errors import AllProvidersFailedError, PartialStreamError
from getpatter.llm.base import LLMChunk, LLMProvider, as_chunk
from getpatter.net.standby import Failures, Health, Slot, check_chain, late, may_help, said

_Message = Mapping[str, object]

_PROBE: Final[list[_Message]] = [{"role": "user", "content": "Answer with the word yes."}]


class FallbackLLMProvider:
    """A chain of models. Used like one model, and billed as the one that answered."""

    def __init__(
        self,
        providers: Sequence[LLMProvider],
        *,
        max_retry_per_provider: int = 1,
        recovery_interval_s: float = 30.0,
        first_token_timeout_s: float = 5.0,
    ) -> None:
        """Make a chain; the first model is preferred.

        Args:
            providers: Models, best first.
            max_retry_per_provider: How often one is asked again before the next one is, where that may help.
            recovery_interval_s: Seconds between attempts, in the background, to see whether a failed one is
                well again. Each asks for one word.
            first_token_timeout_s: Seconds to a model's first word or tool call, all its attempts together. What is
                neither (pings, empty chunks) does not lengthen them.

        Raises:
            ValueError: no provider, or a number that cannot be.
            TypeError: something that cannot `stream()`.
        """
        check_chain(
            type(self).__name__,
            providers,
            ("stream",),
            max_retry_per_provider=max_retry_per_provider,
            recovery_interval_s=recovery_interval_s,
            first_token_timeout_s=first_token_timeout_s,
        )
        self._retries = max_retry_per_provider
        self._interval_s = recovery_interval_s
        self._first_s = first_token_timeout_s
        self._health = Health(providers, recovery_interval_s, _probed)
        self._is_clone = False
        self._last: Slot[LLMProvider] | None = None

    @property
    def providers(self) -> tuple[LLMProvider, ...]:
        """The models, best first."""
        return self._health.providers

    @property
    def provider_key(self) -> str:
        """The key of the model that answered last, else of the preferred one that is well."""
        return (self._last or self._health.order()[0]).name

    @property
    def model(self) -> str:
        """The name of the model that answered last, else of the preferred one that is well."""
        return (self._last or self._health.order()[0]).model

    def clone(self) -> Self:
        """The chain for one more call. What is known of its models' health is shared."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._is_clone = True
        twin._last = None
        return twin

    def __repr__(self) -> str:
        shown = ", ".join(repr(slot.provider) for slot in self._health.slots)
        return f"{type(self).__name__}([{shown}])"

    def __reduce__(self) -> tuple[object, ...]:
        return _made_again, (self.providers, self._retries, self._interval_s, self._first_s)

    async def stream(
        self,
        messages: Sequence[_Message],
        tools: Sequence[_Message] | None = None,
        *,
        cancel_event: asyncio.Event | None = None,
        call_id: str | None = None,
    ) -> AsyncGenerator[LLMChunk, None]:
        """Answer with the first model that can.

        Raises:
            PartialStreamError: a model failed after its first word; nobody else can go on from there.
            AllProvidersFailedError: none could answer.
        """
        failures = Failures()
        loop = asyncio.get_running_loop()
        for slot in self._health.order():
            ends_at = loop.time() + self._first_s
            failure: Exception | None = None
            for _ in range(self._retries + 1):
                has_begun = False
                self._last = slot
                answer = _answer(slot.provider, messages, tools, cancel_event, call_id)
                try:
                    while (
                        chunk := await self._next(answer, slot, None if has_begun else ends_at)
                    ) is not None:
                        has_begun = has_begun or _is_word(chunk)
                        yield chunk
                except Exception as error:
                    if has_begun:
                        self._health.failed(slot, error)
                        raise PartialStreamError(
                            f"{slot.name} failed in the middle of its answer: {said(error)}",
                            vendor=slot.name,
                        ) from error
                    failures.add(slot, error)
                    failure = error
                    if not may_help(error):
                        break
                else:
                    self._health.answered(slot)
                    return
                finally:
                    await answer.aclose()
            assert failure is not None, "each attempt that did not return has failed"
            self._health.failed(slot, failure)
        raise AllProvidersFailedError(f"no model could answer: {failures}")

    async def _next(
        self,
        answer: AsyncGenerator[LLMChunk, None],
        slot: Slot[LLMProvider],
        ends_at: float | None,
    ) -> LLMChunk | None:
        try:
            async with asyncio.timeout_at(ends_at):
                return await anext(answer, None)
        except TimeoutError as error:
            if ends_at is None or asyncio.get_running_loop().time() < ends_at:
                raise  # one of its own
            raise late(slot.name, "did not begin to answer", self._first_s) from error

    async def warmup(self) -> None:
        """Open the connections of all models: a spare one is needed at once."""
        warm = (getattr(slot.provider, "warmup", None) for slot in self._health.slots)
        await asyncio.gather(*(each() for each in warm if each is not None), return_exceptions=True)

    async def close(self) -> None:
        """Close the models, and try nobody any more. Idempotent."""
        if self._is_clone:
            return
        await self._health.close()


def _made_again(
    providers: Sequence[LLMProvider], retries: int, interval_s: float, first_s: float
) -> FallbackLLMProvider:
    return FallbackLLMProvider(
        providers,
        max_retry_per_provider=retries,
        recovery_interval_s=interval_s,
        first_token_timeout_s=first_s,
    )


def _is_word(chunk: LLMChunk) -> bool:
    return chunk.type == "tool_call" or (chunk.type == "text" and bool(chunk.content))


async def _answer(
    provider: LLMProvider,
    messages: Sequence[_Message],
    tools: Sequence[_Message] | None,
    cancel_event: asyncio.Event | None,
    call_id: str | None,
) -> AsyncGenerator[LLMChunk, None]:
    stream: Any = provider.stream
    wanted = {"cancel_event": cancel_event, "call_id": call_id}
    parameters = inspect.signature(stream).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    extra = {name: value for name, value in wanted.items() if takes_any or name in parameters}
    chunks = stream(messages, tools, **extra)
    if inspect.isawaitable(chunks):
        chunks = await chunks
    try:
        async for raw in cast("AsyncIterator[object]", chunks):
            chunk = as_chunk(raw)
            if chunk is not None:
                yield chunk
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


async def _probed(provider: LLMProvider) -> None:
    answer = _answer(provider, _PROBE, None, None, None)
    try:
        async for chunk in answer:
            if chunk.type == "done" or _is_word(chunk):
                return
    finally:
        await answer.aclose()
