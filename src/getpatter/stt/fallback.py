"""Several recognisers for one call: when one fails or falls silent, the next one hears the rest.

```
caller's audio --> kept since the last final words --> recogniser A   lost, refused, or silent although there was speech
                            `--- replayed -----------> recogniser B   and then what the caller goes on to say
```

A recogniser that is lost is noticed by its error. One that has stalled is not: it says nothing, as it does when the
caller is silent. So the sound is weighed: where there was sound, then quiet, and no word for `result_timeout_s` after
it, the next recogniser is given the same sound. If that one says nothing either, it was no speech, and neither is at
fault.

Times of the results are those of the call's audio, whoever heard it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Final, Self, cast

from getpatter.audio.convert import cheapest, converter
from getpatter.audio.level import loud_share
from getpatter.errors import AllProvidersFailedError
from getpatter.models import Transcript
from getpatter.net.standby import (
    Failures,
    Health,
    Slot,
    check_chain,
    clone_of,
    close_all,
    late,
    may_help,
)
from getpatter.net.tasks import TaskNest
from getpatter.stt.base import STTProvider, input_formats
from getpatter.types import AudioFormat, Spent

logger = logging.getLogger(__name__)

KEPT_MS: Final = 15_000.0
"""Audio without final words that is kept for the next recogniser; the oldest goes first."""
_LOUD: Final = 0.1
"""The share of loud samples that makes a stretch sound."""
_LEAST_SPEECH_MS: Final = 500.0
"""Sound that somebody owes words for; a click or a cough is shorter."""
_QUIET_MS: Final = 1000.0
"""Quiet after it that ends an utterance."""
_MOST_NEWS: Final = 256

_News = tuple["_Ear | None", Transcript | Exception | None]


class FallbackSTTProvider:
    """A chain of recognisers. Used like one, and billed as those that listened."""

    def __init__(
        self,
        providers: Sequence[STTProvider],
        *,
        max_retry_per_provider: int = 1,
        recovery_interval_s: float = 30.0,
        connect_timeout_s: float = 3.0,
        result_timeout_s: float = 3.0,
    ) -> None:
        """Make a chain; the first recogniser is preferred.

        Args:
            providers: Recognisers, best first.
            max_retry_per_provider: How often one is connected again before the next one is, where that may help. A
                recogniser that has stalled is not.
            recovery_interval_s: Seconds between attempts, in the background, to see whether a failed one is
                well again. Each connects and hangs up.
            connect_timeout_s: Seconds to connect to one, all its attempts together.
            result_timeout_s: Seconds, after sound and a second of quiet, without any result: it has stalled.

        Raises:
            ValueError: no provider, or a number that cannot be.
            TypeError: something that is no recogniser.
        """
        check_chain(
            type(self).__name__,
            providers,
            ("connect", "send_audio", "receive_transcripts", "close"),
            max_retry_per_provider=max_retry_per_provider,
            recovery_interval_s=recovery_interval_s,
            connect_timeout_s=connect_timeout_s,
            result_timeout_s=result_timeout_s,
        )
        self._retries = max_retry_per_provider
        self._interval_s = recovery_interval_s
        self._connect_s = connect_timeout_s
        self._result_s = result_timeout_s
        self._health = Health(providers, recovery_interval_s, _probed)
        self._format = input_formats(providers[0])[0]
        self._is_clone = False
        self._renew()

    def _renew(self) -> None:
        self._ear: _Ear | None = None
        self._past: list[Spent] = []
        self._last: Slot[STTProvider] | None = None
        self._kept = _Kept(self._format)
        self._watch = _Watch(self._format)
        self._timer: asyncio.TimerHandle | None = None
        self._doubted: Slot[STTProvider] | None = None
        """Who said nothing to the sound that its successor was given too."""
        self._news: asyncio.Queue[_News] = asyncio.Queue(_MOST_NEWS)
        self._nest = TaskNest("recognisers")
        self._is_closed = False

    @property
    def providers(self) -> tuple[STTProvider, ...]:
        """The recognisers, best first."""
        return self._health.providers

    @property
    def _listener(self) -> Slot[STTProvider]:
        return self._last or self._health.order()[0]

    @property
    def provider_key(self) -> str:
        """The key of the recogniser that listens, else of the preferred one that is well."""
        return self._listener.name

    @property
    def model(self) -> str:
        """The model of the recogniser that listens, else of the preferred one that is well."""
        return self._listener.model

    @property
    def input_formats(self) -> tuple[AudioFormat, ...]:
        """What `send_audio` takes. `with_input` gives a chain for another."""
        return (self._format,)

    @property
    def spent(self) -> tuple[Spent, ...]:
        """Seconds that each recogniser has heard; the one that listens comes last."""
        now = (self._ear.spent,) if self._ear is not None else ()
        seconds: dict[tuple[str, str], float] = {}
        for each in (*self._past, *now):
            key = each.provider, each.model
            seconds[key] = seconds.pop(key, 0.0) + each.units
        return tuple(Spent(*key, units) for key, units in seconds.items())

    @property
    def billed_seconds(self) -> float:
        """Seconds that were heard, by whichever recogniser."""
        return sum(each.units for each in self.spent)

    def clone(self) -> Self:
        """The chain for one more call. What is known of its recognisers' health is shared."""
        return self._twin(self._format)

    def with_input(self, formats: Sequence[AudioFormat]) -> Self | None:
        """A clone that takes the first of `formats`; for recognisers that do not, it is converted."""
        return self._twin(formats[0]) if formats else None

    def _twin(self, audio_format: AudioFormat) -> Self:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._is_clone = True
        twin._format = audio_format
        twin._renew()
        return twin

    def __repr__(self) -> str:
        shown = ", ".join(repr(provider) for provider in self.providers)
        return f"{type(self).__name__}([{shown}])"

    def __reduce__(self) -> tuple[object, ...]:
        limits = (self._retries, self._interval_s, self._connect_s, self._result_s)
        return _made_again, (self.providers, *limits)

    async def warmup(self) -> None:
        """Begin to open what the preferred recogniser that is well will need."""
        provider, _ = _for_format(self._health.order()[0].provider, self._format)
        warm = getattr(provider, "warmup", None)
        if warm is not None:
            await warm()

    # ------------------------------------------------------------------------------------- listening

    async def connect(self) -> None:
        """Open a stream with the first recogniser that can; the one that is open already is kept.

        Raises:
            AllProvidersFailedError: none can be reached.
        """
        if self._ear is None:
            self._is_closed = False
            await self._open(self._health.order(), Failures())

    def feed(self, data: bytes) -> None:
        """Hear the caller's next audio, in the format that `input_formats` names. Never waits."""
        self._kept.add(data)
        if self._watch.heard(data):
            self._expect_words()
        if self._ear is not None:
            self._ear.hear(data)

    async def send_audio(self, pcm: bytes) -> None:
        """As `feed`."""
        self.feed(pcm)

    def finalize(self) -> None:
        """The voice has stopped: ask for the final words now, where the recogniser can be asked."""
        if self._ear is not None:
            self._ear.finalize(self._nest)
        if self._watch.finished():
            self._expect_words()

    async def receive_transcripts(self) -> AsyncIterator[Transcript]:
        """Results until `close()`; to be read by one reader.

        Raises:
            AllProvidersFailedError: a recogniser failed, and no other could take over. `connect()` tries again.
        """
        if not self._is_closed:
            await self.connect()
        while not self._is_closed:
            ear, news = await self._news.get()
            if ear is None or ear is not self._ear:
                continue
            if news is None:
                return
            if isinstance(news, Exception):
                await self._replace(ear, news)
            else:
                yield self._understood(ear, news)

    def _understood(self, ear: _Ear, said: Transcript) -> Transcript:
        self._doubted = None
        self._expect_none()
        self._health.answered(ear.slot)
        ear.failures = 0
        start, end = ear.in_call(said.start_ms), ear.in_call(said.end_ms)
        if said.is_final:
            self._kept.confirm(end)
        if start == said.start_ms and end == said.end_ms:
            return said
        return dataclasses.replace(said, start_ms=start, end_ms=end)

    # ------------------------------------------------------------------------------------- replacing

    async def _replace(self, ear: _Ear, error: Exception) -> None:
        """Somebody else, or the same one anew, hears what has had no words yet."""
        self._expect_none(keep=True)
        self._put_down()
        others = [slot for slot in self._health.order() if slot is not ear.slot]
        again = may_help(error) and ear.failures < self._retries
        failures = Failures()
        failures.add(ear.slot, error)
        if not again:
            self._health.failed(ear.slot, error)
        order = [ear.slot, *others] if again else [*others, ear.slot]
        await self._open(order, failures, failed=ear.failures + 1 if again else 0)

    async def _open(
        self, order: Sequence[Slot[STTProvider]], failures: Failures, *, failed: int = 0
    ) -> None:
        """Begin with the first of `order` that can be reached; `failed` attempts of it have gone before."""
        for slot in order:
            ear = _Ear(slot, self._format)
            ear.failures = failed
            try:
                await self._reach(ear)
            except Exception as error:  # noqa: BLE001 - a provider of the user's may raise anything
                failures.add(slot, error)
                self._health.failed(slot, error)
                self._hang_up(ear)
                failed = 0
                continue
            self._begin(ear)
            return
        raise AllProvidersFailedError(f"no recogniser could listen: {failures}")

    async def _reach(self, ear: _Ear) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._connect_s
        while True:
            try:
                async with asyncio.timeout_at(ends_at):
                    await ear.provider.connect()
            except Exception as error:
                if isinstance(error, TimeoutError) and loop.time() >= ends_at:
                    raise late(ear.slot.name, "did not connect", self._connect_s) from error
                ear.failures += 1
                if ear.failures > self._retries or not may_help(error):
                    raise
            else:
                return

    def _begin(self, ear: _Ear) -> None:
        if self._is_closed:
            self._hang_up(ear)
            return
        self._last = ear.slot
        self._ear = ear
        at_ms, audio = self._kept.replay()
        ear.begin(at_ms, audio, self._nest)
        if self._watch.owes_words:
            ear.finalize(self._nest)
            self._expect_words()
        ear.tasks.append(self._nest.spawn(self._pump(ear), name=ear.slot.name))

    async def _pump(self, ear: _Ear) -> None:
        try:
            async for said in ear.provider.receive_transcripts():
                await self._news.put((ear, said))
        except Exception as error:  # noqa: BLE001 - the top of this task: any failure of a provider
            await self._news.put((ear, error))
        else:
            await self._news.put((ear, None))

    def _put_down(self) -> None:
        if self._ear is not None:
            ear, self._ear = self._ear, None
            self._hang_up(ear)

    def _hang_up(self, ear: _Ear) -> None:
        self._past.append(ear.spent)
        for task in ear.tasks:
            task.cancel()
        if not self._nest.is_closed and ear.is_own:
            self._nest.spawn(close_all([ear.provider.close()]), name=f"closing {ear.slot.name}")

    # ---------------------------------------------------------------------------------------- stalls

    def _expect_words(self) -> None:
        if self._timer is None and self._ear is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._result_s, self._stalled, self._ear)

    def _expect_none(self, *, keep: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not keep:
            self._watch.answered()

    def _stalled(self, ear: _Ear) -> None:
        self._timer = None
        if ear is not self._ear:
            return
        if self._doubted is not None or len(self._health.slots) == 1:
            logger.debug("fallback.no_speech provider=%s", ear.slot.name)
            if self._doubted is not None:
                self._health.answered(self._doubted)
            self._doubted = None
            self._watch.answered()
            self._kept.confirm(None)
            return
        self._doubted = ear.slot
        error = late(ear.slot.name, "said nothing to what sounded like speech", self._result_s)
        if not self._news.full():
            self._news.put_nowait((ear, error))

    async def close(self) -> None:
        """End the streams in their vendors' orderly way, within 2 s. Idempotent.

        The object that the program made closes the recognisers too.
        """
        self._is_closed = True
        self._expect_none()
        ear, self._ear = self._ear, None
        if ear is not None:
            if ear.is_own:
                await close_all([ear.provider.close()])
            self._past.append(ear.spent)
        await self._nest.close()
        while self._news.full():
            self._news.get_nowait()
        self._news.put_nowait((None, None))  # whoever reads shall look again
        self._nest = TaskNest("recognisers")
        if not self._is_clone:
            await self._health.close()


class _Ear:
    """One recogniser's stream of one call."""

    def __init__(self, slot: Slot[STTProvider], stream: AudioFormat) -> None:
        self.slot = slot
        self.provider, self.is_own = _for_format(slot.provider, stream)
        _, wanted = cheapest((stream,), input_formats(self.provider))
        self.failures = 0
        self.tasks: list[asyncio.Task[None]] = []
        self._stream = stream
        self._change = converter(stream, wanted)
        self._began_ms = 0.0
        self._bytes = 0
        feed = getattr(self.provider, "feed", None)
        self._feed = feed if callable(feed) else None
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()

    @property
    def spent(self) -> Spent:
        """What it has heard, as its vendor counts if it says so."""
        billed = getattr(self.provider, "billed_seconds", None) if self.is_own else None
        seconds = billed if isinstance(billed, float) else self._stream.ms(self._bytes) / 1000
        return Spent(self.slot.name, self.slot.model, seconds)

    def in_call(self, ms: float | None) -> float | None:
        """A time of its stream as one of the call's."""
        return None if ms is None else ms + self._began_ms

    def begin(self, at_ms: float, audio: bytes, nest: TaskNest) -> None:
        self._began_ms = at_ms
        if self._feed is None:
            self.tasks.append(nest.spawn(self._send(), name=f"to {self.slot.name}"))
        if audio:
            self.hear(audio)

    def hear(self, data: bytes) -> None:
        self._bytes += len(data)
        audio = self._change.convert(data)
        if self._feed is not None:
            self._feed(audio)
            return
        self._waiting.append(audio)
        while sum(map(len, self._waiting)) > self._stream.size(KEPT_MS) and len(self._waiting) > 1:
            self._waiting.popleft()
        self._wake.set()

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self.provider.send_audio(self._waiting.popleft())

    def finalize(self, nest: TaskNest) -> None:
        finalize = getattr(self.provider, "finalize", None)
        answer = finalize() if callable(finalize) else None
        if inspect.isawaitable(answer):
            nest.spawn(_awaited(answer), name="finalize")


class _Kept:
    """The call's audio since the last final words."""

    def __init__(self, stream: AudioFormat) -> None:
        self._stream = stream
        self._audio = bytearray()
        self._began = 0
        """Where in the call it begins, in bytes."""

    def add(self, data: bytes) -> None:
        self._audio += data
        self._cut(len(self._audio) - self._stream.size(KEPT_MS))

    def confirm(self, until_ms: float | None) -> None:
        """Words have come for everything before `until_ms`; `None`: for all of it."""
        if until_ms is None:
            self._cut(len(self._audio))
        else:
            self._cut(self._stream.size(until_ms) - self._began)

    def replay(self) -> tuple[float, bytes]:
        """Since when, and what."""
        return self._stream.ms(self._began), bytes(self._audio)

    def _cut(self, size: int) -> None:
        size = min(max(0, size), len(self._audio))
        size -= size % self._stream.bytes_per_sample
        del self._audio[:size]
        self._began += size


class _Watch:
    """Whether somebody has said something that no words have come for."""

    def __init__(self, stream: AudioFormat) -> None:
        self._stream = stream
        self._sound_ms = 0.0
        self._quiet_ms = 0.0

    @property
    def owes_words(self) -> bool:
        """There was sound, then quiet."""
        return self._sound_ms >= _LEAST_SPEECH_MS and self._quiet_ms >= _QUIET_MS

    def heard(self, data: bytes) -> bool:
        """The next audio; true when words are owed from now on."""
        ms = self._stream.ms(len(data))
        if loud_share(data, self._stream) > _LOUD:
            self._sound_ms += ms
            self._quiet_ms = 0.0
            return False
        owed = self.owes_words
        self._quiet_ms += ms
        return self.owes_words and not owed

    def finished(self) -> bool:
        """Somebody who knows better says that the voice has stopped; true when words are owed from now on."""
        if self._sound_ms < _LEAST_SPEECH_MS:
            return False
        self._quiet_ms = max(self._quiet_ms, _QUIET_MS)
        return True

    def answered(self) -> None:
        """There were words, or none are expected."""
        self._sound_ms = 0.0


def _for_format(provider: STTProvider, stream: AudioFormat) -> tuple[STTProvider, bool]:
    """A clone for `stream` where there is one, and whether it may be closed."""
    choose = getattr(provider, "with_input", None)
    chosen = choose((stream,)) if callable(choose) else None
    return (cast("STTProvider", chosen), True) if chosen is not None else clone_of(provider)


async def _awaited(answer: object) -> None:
    if inspect.isawaitable(answer):
        await answer


def _made_again(
    providers: Sequence[STTProvider],
    retries: int,
    interval_s: float,
    connect_s: float,
    result_s: float,
) -> FallbackSTTProvider:
    return FallbackSTTProvider(
        providers,
        max_retry_per_provider=retries,
        recovery_interval_s=interval_s,
        connect_timeout_s=connect_s,
        result_timeout_s=result_s,
    )


async def _probed(provider: STTProvider) -> None:
    clone, is_own = clone_of(provider)
    if not is_own:
        return  # it may be in use; the next caller will see
    try:
        await clone.connect()
    finally:
        await clone.close()
