"""Several models for one call: when one fails before its first word, the next one answers."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Self, cast

from getpatter.errors import AllProvidersFailedError, PartialStreamError, PatterError
from getpatter.llm.base import LLMChunk, LLMProvider, as_chunk
from getpatter.net.tasks import TaskNest

logger = logging.getLogger(__name__)

_Message = Mapping[str, object]

_PROBE: Final[list[_Message]] = [{"role": "user", "content": "Answer with the word yes."}]
_PROBE_S: Final = 15.0


class _Slot:
    """One model of the chain and what is known of its health."""

    def __init__(self, provider: LLMProvider) -> None:
        self.provider = provider
        self.is_well = True
        self.probe: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        key = getattr(self.provider, "provider_key", "")
        return key if isinstance(key, str) and key else type(self.provider).__name__

    @property
    def model(self) -> str:
        name = getattr(self.provider, "model", "")
        return name if isinstance(name, str) else ""


class _Health:
    """What all calls know together: who is well, and who is being tried again in the background."""

    def __init__(self, slots: Sequence[_Slot], interval_s: float) -> None:
        self.slots = tuple(slots)
        self._interval_s = interval_s
        self._nest = TaskNest("fallback")
        self._loop: asyncio.AbstractEventLoop | None = None

    def order(self) -> list[_Slot]:
        """Those that are well, as they were given; then the others: a bad chance is better than none."""
        return sorted(self.slots, key=lambda slot: not slot.is_well)

    def failed(self, slot: _Slot) -> None:
        """Leave it out from now on, and try it in the background until it answers."""
        slot.is_well = False
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._nest, self._loop = TaskNest("fallback"), loop
        if slot.probe is None or slot.probe.done():
            slot.probe = self._nest.spawn(self._recover(slot), slot.name)

    def answered(self, slot: _Slot) -> None:
        """It works (again)."""
        slot.is_well = True
        if slot.probe is not None and not slot.probe.done():
            slot.probe.cancel()

    async def close(self) -> None:
        """Try nobody any more."""
        if self._loop is asyncio.get_running_loop():
            await self._nest.close()
        self._loop = None

    async def _recover(self, slot: _Slot) -> None:
        while not slot.is_well:
            await asyncio.sleep(self._interval_s)
            try:
                async with asyncio.timeout(_PROBE_S):
                    await _probed(slot.provider)
            except Exception as error:  # noqa: BLE001 - a provider of the user's may raise anything
                logger.debug(
                    "llm.still_failing provider=%s error=%s", slot.name, type(error).__name__
                )
            else:
                slot.is_well = True
                logger.info("llm.recovered provider=%s", slot.name)


class FallbackLLMProvider:
    """A chain of models. Used like one model, and billed as the one that answered."""

    def __init__(
        self,
        providers: Sequence[LLMProvider],
        *,
        max_retry_per_provider: int = 1,
        recovery_interval_s: float = 30.0,
    ) -> None:
        """Make a chain; the first model is preferred.

        Args:
            providers: Models, best first.
            max_retry_per_provider: How often one is asked again before the next one is, where that may help.
            recovery_interval_s: Seconds between attempts, in the background, to see whether a failed one is
                well again. Each asks for one word.

        Raises:
            ValueError: no provider, or a number that cannot be.
            TypeError: something that cannot `stream()`.
        """
        if not providers:
            raise ValueError("FallbackLLMProvider: providers must name at least one model")
        for provider in providers:
            if not callable(getattr(provider, "stream", None)):
                raise TypeError(
                    f"FallbackLLMProvider: {type(provider).__name__} is no model, it has no stream()"
                )
        if max_retry_per_provider < 0:
            raise ValueError(
                f"FallbackLLMProvider: max_retry_per_provider={max_retry_per_provider} is negative"
            )
        if not recovery_interval_s > 0:
            raise ValueError(
                f"FallbackLLMProvider: recovery_interval_s={recovery_interval_s} must be positive"
            )
        self._retries = max_retry_per_provider
        self._interval_s = recovery_interval_s
        self._health = _Health([_Slot(provider) for provider in providers], recovery_interval_s)
        self._is_clone = False
        self._last: _Slot | None = None

    @property
    def providers(self) -> tuple[LLMProvider, ...]:
        """The models, best first."""
        return tuple(slot.provider for slot in self._health.slots)

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
        return _made_again, (self.providers, self._retries, self._interval_s)

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
        failures: list[str] = []
        for slot in self._health.order():
            for _ in range(self._retries + 1):
                has_begun = False
                self._last = slot
                answer = _answer(slot.provider, messages, tools, cancel_event, call_id)
                try:
                    async for chunk in answer:
                        has_begun = has_begun or chunk.type in {"text", "tool_call"}
                        yield chunk
                except Exception as error:
                    if has_begun:
                        self._health.failed(slot)
                        raise PartialStreamError(
                            f"{slot.name} failed in the middle of its answer: {_said(error)}",
                            vendor=slot.name,
                        ) from error
                    logger.warning(
                        "llm.failed provider=%s error=%s", slot.name, type(error).__name__
                    )
                    failures.append(f"{slot.name}: {_said(error)}")
                    if not _may_help(error):
                        break
                else:
                    self._health.answered(slot)
                    return
                finally:
                    await answer.aclose()
            self._health.failed(slot)
        raise AllProvidersFailedError(f"no model could answer: {'; '.join(failures)}")

    async def warmup(self) -> None:
        """Open the connections of all models: a spare one is needed at once."""
        warm = (getattr(slot.provider, "warmup", None) for slot in self._health.slots)
        await asyncio.gather(*(each() for each in warm if each is not None), return_exceptions=True)

    async def close(self) -> None:
        """Close the models, and try nobody any more. Idempotent."""
        if self._is_clone:
            return
        await self._health.close()
        for slot in self._health.slots:
            close = getattr(slot.provider, "close", None)
            if close is not None:
                with suppress(PatterError):
                    await close()


def _made_again(
    providers: Sequence[LLMProvider], retries: int, interval_s: float
) -> FallbackLLMProvider:
    return FallbackLLMProvider(
        providers, max_retry_per_provider=retries, recovery_interval_s=interval_s
    )


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
            if chunk.type in {"text", "done"}:
                return
    finally:
        await answer.aclose()


def _may_help(error: Exception) -> bool:
    """Whether asking the same model again is worth the caller's time."""
    return error.retryable if isinstance(error, PatterError) else True


def _said(error: Exception) -> str:
    """What may be shown of it: our own errors have had their secrets removed, others may hold anything."""
    return str(error) if isinstance(error, PatterError) else type(error).__name__
