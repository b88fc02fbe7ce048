"""Several voices for one call: when one fails before its first sound, the next one says the same text.

Each text is one request to one voice. What fails before its first sound is said by the next voice, and so is every
later text; what fails after it stays cut short, because nobody can go on inside a sentence in another voice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final, Self, cast

from getpatter.audio.convert import cheapest, converter
from getpatter.errors import AllProvidersFailedError, PartialStreamError
from getpatter.net.standby import (
    Failures,
    Health,
    Slot,
    check_chain,
    clone_of,
    close_all,
    late,
    may_help,
    said,
)
from getpatter.tts.base import TTSProvider, output_format
from getpatter.types import AudioFormat, Spent

_PROBE: Final = "Yes."


class FallbackTTSProvider:
    """A chain of voices. Used like one voice, and billed as the one that spoke."""

    def __init__(
        self,
        providers: Sequence[TTSProvider],
        *,
        max_retry_per_provider: int = 1,
        recovery_interval_s: float = 30.0,
        first_audio_timeout_s: float = 3.0,
        next_audio_timeout_s: float = 5.0,
    ) -> None:
        """Make a chain; the first voice is preferred.

        Args:
            providers: Voices, best first.
            max_retry_per_provider: How often one is asked again before the next one is, where that may help.
            recovery_interval_s: Seconds between attempts, in the background, to see whether a failed one is
                well again. Each has it say one word, up to its first sound.
            first_audio_timeout_s: Seconds to a voice's first sound, all its attempts together.
            next_audio_timeout_s: Seconds between one sound and the next.

        Raises:
            ValueError: no provider, or a number that cannot be.
            TypeError: something that is no voice.
        """
        check_chain(
            type(self).__name__,
            providers,
            ("synthesize", "close"),
            max_retry_per_provider=max_retry_per_provider,
            recovery_interval_s=recovery_interval_s,
            first_audio_timeout_s=first_audio_timeout_s,
            next_audio_timeout_s=next_audio_timeout_s,
        )
        self._retries = max_retry_per_provider
        self._interval_s = recovery_interval_s
        self._first_s = first_audio_timeout_s
        self._next_s = next_audio_timeout_s
        self._health = Health(providers, recovery_interval_s, _probed)
        self.output_format = output_format(providers[0])
        """What `synthesize` yields, whoever speaks."""
        self._is_clone = False
        self._renew()

    def _renew(self) -> None:
        self._voices: dict[int, _Voice] = {}
        self._chosen: list[FallbackTTSProvider] = []
        self._past: tuple[Spent, ...] = ()
        self._last: Slot[TTSProvider] | None = None

    @property
    def providers(self) -> tuple[TTSProvider, ...]:
        """The voices, best first."""
        return self._health.providers

    @property
    def _speaker(self) -> Slot[TTSProvider]:
        return self._last or self._health.order()[0]

    @property
    def provider_key(self) -> str:
        """The key of the voice that spoke last, else of the preferred one that is well."""
        return self._speaker.name

    @property
    def model(self) -> str:
        """The model of the voice that spoke last, else of the preferred one that is well."""
        return self._speaker.model

    @property
    def voice_key(self) -> str | None:
        """Equal while the same voice speaks; `None` where that one does not say what it sounds like."""
        key = getattr(self._speaker.provider, "voice_key", None)
        return key if isinstance(key, str) else None

    @property
    def spent(self) -> tuple[Spent, ...]:
        """Characters that each voice has spoken for this object; the one that spoke last comes last."""
        voices = sorted(self._voices.values(), key=lambda voice: voice.slot is self._last)
        own = (voice.spent for voice in voices if voice.characters)
        return (*self._past, *own, *(each for chosen in self._chosen for each in chosen.spent))

    @property
    def billed_characters(self) -> int:
        """Characters that were spoken, by whichever voice."""
        return sum(int(each.units) for each in self.spent)

    def clone(self) -> Self:
        """The chain for one more call. What is known of its voices' health is shared."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._is_clone = True
        twin._renew()
        return twin

    def with_output(self, formats: Sequence[AudioFormat]) -> Self | None:
        """A clone that gives the first of `formats`. Closing this one closes it too.

        Voices that cannot speak it are converted.
        """
        if not formats:
            return None
        twin = self.clone()
        twin.output_format = formats[0]
        self._chosen.append(twin)
        return twin

    def __repr__(self) -> str:
        shown = ", ".join(repr(provider) for provider in self.providers)
        return f"{type(self).__name__}([{shown}])"

    def __reduce__(self) -> tuple[object, ...]:
        limits = (self._retries, self._interval_s, self._first_s, self._next_s)
        return _made_again, (self.providers, *limits)

    async def synthesize(self, text: str) -> AsyncGenerator[bytes, None]:
        """Speak `text` with the first voice that can; yields sound in `output_format`.

        Raises:
            PartialStreamError: a voice failed after its first sound.
            AllProvidersFailedError: none could speak.
        """
        failures = Failures()
        loop = asyncio.get_running_loop()
        for slot in self._health.order():
            voice = self._voice(slot)
            ends_at = loop.time() + self._first_s
            failure: Exception | None = None
            for _ in range(self._retries + 1):
                has_begun = False
                sounds = voice.speak(text)
                try:
                    while (sound := await self._next(sounds, slot, has_begun, ends_at)) is not None:
                        if sound and not has_begun:
                            has_begun, self._last = True, slot
                            voice.characters += len(text)
                        if sound:
                            yield sound
                except Exception as error:
                    if has_begun:
                        self._health.failed(slot, error)
                        raise PartialStreamError(
                            f"{slot.name} failed in the middle of a text: {said(error)}",
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
                    await sounds.aclose()
            assert failure is not None, "each attempt that did not return has failed"
            self._health.failed(slot, failure)
        raise AllProvidersFailedError(f"no voice could speak: {failures}")

    async def _next(
        self,
        sounds: AsyncGenerator[bytes, None],
        slot: Slot[TTSProvider],
        has_begun: bool,  # noqa: FBT001 - private
        ends_at: float,
    ) -> bytes | None:
        now = asyncio.get_running_loop().time()
        until = now + self._next_s if has_begun else ends_at
        try:
            async with asyncio.timeout_at(until):
                return await anext(sounds, None)
        except TimeoutError as error:
            if asyncio.get_running_loop().time() < until:
                raise  # one of its own
            what = "said nothing more" if has_begun else "did not begin to speak"
            raise late(slot.name, what, self._next_s if has_begun else self._first_s) from error

    def _voice(self, slot: Slot[TTSProvider]) -> _Voice:
        voice = self._voices.get(id(slot))
        if voice is None:
            voice = self._voices[id(slot)] = _Voice(slot, self.output_format)
        return voice

    async def warmup(self) -> None:
        """Open the connections of all voices: a spare one is needed at once."""
        warm = [getattr(self._voice(slot).provider, "warmup", None) for slot in self._health.slots]
        await asyncio.gather(*(each() for each in warm if each is not None), return_exceptions=True)

    async def close(self) -> None:
        """Close what was opened here; the object that the program made closes the voices too. Idempotent."""
        self._past = self.spent
        chosen, voices = self._chosen, [*self._voices.values()]
        self._chosen, self._voices = [], {}
        own = (voice.provider.close() for voice in voices if voice.is_own)
        await close_all([*own, *(each.close() for each in chosen)])
        if not self._is_clone:
            await self._health.close()


class _Voice:
    """One voice of the chain as one call uses it."""

    def __init__(self, slot: Slot[TTSProvider], wanted: AudioFormat) -> None:
        self.slot = slot
        self.provider, self.is_own = clone_of(slot.provider)
        choose = getattr(self.provider, "with_output", None)
        chosen = choose((wanted,)) if callable(choose) else None
        self._speaker = self.provider if chosen is None else cast("TTSProvider", chosen)
        self._source, _ = cheapest((output_format(self._speaker),), (wanted,))
        self._wanted = wanted
        self.characters = 0

    @property
    def spent(self) -> Spent:
        return Spent(self.slot.name, self.slot.model, self.characters)

    async def speak(self, text: str) -> AsyncGenerator[bytes, None]:
        change = converter(self._source, self._wanted)
        sounds: AsyncIterator[bytes] = self._speaker.synthesize(text)
        try:
            async for sound in sounds:
                yield change.convert(sound)
        finally:
            close = getattr(sounds, "aclose", None)
            if close is not None:
                await close()
        yield change.flush()


def _made_again(
    providers: Sequence[TTSProvider], retries: int, interval_s: float, first_s: float, next_s: float
) -> FallbackTTSProvider:
    return FallbackTTSProvider(
        providers,
        max_retry_per_provider=retries,
        recovery_interval_s=interval_s,
        first_audio_timeout_s=first_s,
        next_audio_timeout_s=next_s,
    )


async def _probed(provider: TTSProvider) -> None:
    voice, is_own = clone_of(provider)
    sounds = voice.synthesize(_PROBE)
    try:
        async for sound in sounds:
            if sound:
                break
    finally:
        close = getattr(sounds, "aclose", None)
        if close is not None:
            await close()
        if is_own:
            await voice.close()
