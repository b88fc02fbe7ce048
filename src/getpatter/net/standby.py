"""Providers that stand in for each other: who is well, who is tried again in the background.

What the fallback chains of models, recognisers and voices have in common. All calls share what is known, so that a
second caller does not wait for a provider that has just failed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, Generic, TypeVar, cast

from getpatter.errors import ErrorCode, PatterConnectionError, PatterError
from getpatter.net.tasks import TaskNest

logger = logging.getLogger(__name__)

_P = TypeVar("_P")
_T = TypeVar("_T")

_PROBE_S: Final = 15.0
_CLOSE_S: Final = 1.5


class Slot(Generic[_P]):
    """One provider of a chain and what is known of its health."""

    def __init__(self, provider: _P) -> None:
        """`provider` is taken to be well."""
        self.provider = provider
        self.is_well = True
        self.probe: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Its key in the price table; for an object of the user's, its class."""
        key = getattr(self.provider, "provider_key", "")
        return key if isinstance(key, str) and key else type(self.provider).__name__

    @property
    def model(self) -> str:
        """Its model, if it says."""
        name = getattr(self.provider, "model", "")
        return name if isinstance(name, str) else ""


class Health(Generic[_P]):
    """What all calls know together of the providers of a chain."""

    def __init__(
        self, providers: Sequence[_P], interval_s: float, probe: Callable[[_P], Awaitable[None]]
    ) -> None:
        """Watch `providers`, best first; `probe` raises when one is not well."""
        self.slots = tuple(Slot(provider) for provider in providers)
        self._interval_s = interval_s
        self._probe = probe
        self._nest = TaskNest("fallback")
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def providers(self) -> tuple[_P, ...]:
        """The providers, best first."""
        return tuple(slot.provider for slot in self.slots)

    def order(self) -> list[Slot[_P]]:
        """Those that are well, as they were given; then the others: a bad chance is better than none."""
        return sorted(self.slots, key=lambda slot: not slot.is_well)

    def failed(self, slot: Slot[_P], error: BaseException) -> None:
        """Leave it out from now on, and try it in the background until it answers."""
        logger.warning(
            "fallback.provider_failed provider=%s error=%s", slot.name, type(error).__name__
        )
        slot.is_well = False
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._nest, self._loop = TaskNest("fallback"), loop
        if slot.probe is None or slot.probe.done():
            slot.probe = self._nest.spawn(self._recover(slot), slot.name)

    def answered(self, slot: Slot[_P]) -> None:
        """It works (again)."""
        slot.is_well = True
        if slot.probe is not None and not slot.probe.done():
            slot.probe.cancel()

    async def close(self) -> None:
        """Try nobody any more, and close the providers."""
        if self._loop is asyncio.get_running_loop():
            await self._nest.close()
        self._loop = None
        for provider in self.providers:
            close = getattr(provider, "close", None)
            if close is not None:
                with suppress(PatterError):
                    await close()

    async def _recover(self, slot: Slot[_P]) -> None:
        while not slot.is_well:
            await asyncio.sleep(self._interval_s)
            try:
                async with asyncio.timeout(_PROBE_S):
                    await self._probe(slot.provider)
            except Exception as error:  # noqa: BLE001 - a provider of the user's may raise anything
                logger.debug(
                    "fallback.still_failing provider=%s error=%s", slot.name, type(error).__name__
                )
            else:
                slot.is_well = True
                logger.info("fallback.recovered provider=%s", slot.name)


class Failures:
    """What went wrong so far while one caller waited."""

    def __init__(self) -> None:
        self._said: list[str] = []

    def add(self, slot: Slot[_P], error: BaseException) -> None:
        """`slot` could not do it."""
        self._said.append(f"{slot.name}: {said(error)}")

    def __str__(self) -> str:
        return "; ".join(self._said)


def check_chain(
    owner: str,
    providers: Sequence[object],
    methods: Sequence[str],
    *,
    max_retry_per_provider: int,
    **seconds: float,
) -> None:
    """What is wrong with a chain is found when it is made.

    Raises:
        ValueError: no provider, or a number that cannot be.
        TypeError: something that lacks one of `methods`.
    """
    if not providers:
        raise ValueError(f"{owner}: providers must name at least one")
    for provider in providers:
        if isinstance(provider, type):
            raise TypeError(
                f"{owner}: write {provider.__name__}(...) instead of {provider.__name__}"
            )
        missing = [name for name in methods if not callable(getattr(provider, name, None))]
        if missing:
            raise TypeError(
                f"{owner}: {type(provider).__name__} cannot take part, it has no {missing[0]}()"
            )
    if max_retry_per_provider < 0:
        raise ValueError(f"{owner}: max_retry_per_provider={max_retry_per_provider} is negative")
    for name, value in seconds.items():
        if not value > 0:
            raise ValueError(f"{owner}: {name}={value} must be positive")


def clone_of(provider: _T) -> tuple[_T, bool]:
    """A clone, and that it may be closed; or the provider itself where it has none to give."""
    clone = getattr(provider, "clone", None)
    return (cast("_T", clone()), True) if callable(clone) else (provider, False)


async def close_all(closing: Iterable[Awaitable[object]], *, within_s: float = _CLOSE_S) -> None:
    """Await all of `closing` at once, `within_s` seconds at most; what fails or hangs keeps nobody."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await asyncio.gather(*closing, return_exceptions=True)


def may_help(error: BaseException) -> bool:
    """Whether asking the same provider again is worth the caller's time."""
    return error.retryable if isinstance(error, PatterError) else True


def said(error: BaseException) -> str:
    """What may be shown of it: our own errors have had their secrets removed, others may hold anything."""
    return str(error) if isinstance(error, PatterError) else type(error).__name__


def late(name: str, what: str, seconds: float) -> PatterConnectionError:
    """The error of a provider that has let its time pass. Asking it again would cost as much once more."""
    return PatterConnectionError(
        f"{name} {what} within {seconds:g} s",
        code=ErrorCode.TIMEOUT,
        vendor=name,
        retryable=False,
    )
