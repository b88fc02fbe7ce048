"""People on the phone, as small programs: they listen, speak, press keys, interrupt and hang up.

```python
caller = Caller(listen(), say("two large pizzas please"), listen(), press("1"), hang_up())
rude = Interrupter("no, listen to me", after_ms=400)
```

A caller decides by ear. `listen()` waits until the agent has spoken and then been silent for a while, as a
person would, on the sound that really came through the line. Time is that of the event loop, counted in
frames of the stream, so callers behave the same in virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from getpatter.audio.resample import resampled
from getpatter.audio.wav import read_wav
from getpatter.testing.line import Ear, Leg, Microphone, PlayBuffer, as_heard_by, pcm_of
from getpatter.testing.time import hold
from getpatter.types import Instant

RATE: Final = 8000
"""Sample rate of all sound in this module; PCM16."""
PATIENCE_S: Final = 20.0
"""How long a caller waits for an agent that says nothing."""
GAP_MS: Final = 700.0
"""Silence after which a caller takes the agent to have finished."""


class HungUpError(Exception):
    """The line is gone; the caller has nobody to talk to. Ends a script quietly."""


class NobodySpokeError(AssertionError):
    """The caller waited for the agent, and nothing came."""


Voice: TypeAlias = Callable[[str], Awaitable[bytes]]
"""Speaks a text: PCM16 at 8 kHz."""
Step: TypeAlias = "Callable[[Handset], Awaitable[None]]"
"""Something a caller does."""
Predicate: TypeAlias = "Callable[[Handset], bool]"


# -------------------------------------------------------------------------------------------- handset


class Handset:
    """A caller's end of a call: an ear, a mouth, keys, and the hook."""

    def __init__(
        self, *, voice: Voice, hang_up: Callable[[], None], wake: Callable[[], None]
    ) -> None:
        """For drivers: `hang_up` ends the call, `wake` makes the stream look at what was asked of it."""
        self._voice = voice
        self._hang_up = hang_up
        self._wake = wake
        self._leg: Leg | None = None
        self._ear = Ear(RATE)
        self._heard_to = 0
        self._before_ms = 0.0
        self._is_over = False
        self._waiting: list[tuple[Predicate, asyncio.Future[None]]] = []

    # ------------------------------------------------------------------------------------- for drivers

    def connect(self, leg: Leg) -> None:
        """The stream is there (or a new one is, after a redirect); a caller's own time goes on."""
        if self._leg is not None:
            self._before_ms = self.now_ms
        self._leg = leg
        self._ear = Ear(leg.play.format.sample_rate)
        self._heard_to = 0

    def tick(self, now: Instant) -> None:
        """Hear what became audible, and go on with what the caller waits for."""
        if self._leg is not None:
            play = self._leg.play
            upto = play.sample(now)
            if upto > self._heard_to:
                self._ear.listen(self._sound(play, upto))
                self._heard_to = upto
        for wanted, waiter in list(self._waiting):
            if not waiter.done() and wanted(self):
                waiter.set_result(None)

    def _sound(self, play: PlayBuffer, upto: int) -> bytes:
        if play.is_silent_from(self._heard_to):
            return bytes(2 * (upto - self._heard_to))
        return pcm_of(play.between(self._heard_to, upto), play.format)

    def over(self) -> None:
        """The call has ended."""
        self._is_over = True
        for _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(HungUpError())
                waiter.exception()

    # ------------------------------------------------------------------------------------ for callers

    @property
    def play(self) -> PlayBuffer:
        """What the caller hears."""
        return self._stream().play

    @property
    def microphone(self) -> Microphone:
        """What the caller says."""
        return self._stream().microphone

    @property
    def now_ms(self) -> float:
        """Milliseconds since the first stream began, as far as the caller has listened."""
        return self._before_ms + self._heard_to / self.play.format.sample_rate * 1000

    @property
    def silent_ms(self) -> float:
        """How long the agent has been silent."""
        return self._ear.silent_ms()

    @property
    def is_agent_speaking(self) -> bool:
        """Whether the agent was heard in the last 200 ms."""
        return self._ear.last is not None and self.silent_ms < 200  # noqa: PLR2004

    def heard_after(self, ms: float) -> bool:
        """Whether the agent has been heard since that time of the stream."""
        last = self._ear.last
        return (
            last is not None and self._before_ms + last / self.play.format.sample_rate * 1000 > ms
        )

    async def until(self, wanted: Predicate, *, patience_s: float | None = None) -> None:
        """Wait until `wanted(handset)` is true; it is asked with every frame.

        Raises:
            NobodySpokeError: not within `patience_s` seconds.
            HungUpError: the call ended first.
        """
        if self._is_over:
            raise HungUpError
        if self._leg is not None and wanted(self):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (wanted, waiter)
        self._waiting.append(entry)
        try:
            async with asyncio.timeout(patience_s):
                await waiter
        except TimeoutError:
            raise NobodySpokeError(f"the caller waited {patience_s:g} s in vain") from None
        finally:
            self._waiting.remove(entry)

    async def say(self, what: str | bytes) -> None:
        """Speak a text by the caller's voice, or PCM16 at 8 kHz; returns when it has been said."""
        sound = what if isinstance(what, bytes) else await self._voice(what)
        await self.until(lambda _: True)
        self._stream().microphone.say(as_heard_by(sound, self.play.format))
        await self.until(lambda handset: not handset.microphone.is_speaking)

    def press(self, digits: str) -> None:
        """Press keys, one after the other."""
        now = Instant(asyncio.get_running_loop().time())
        self._stream().press(digits, now)
        self._wake()

    def hang_up(self) -> None:
        """End the call."""
        self._hang_up()

    def _stream(self) -> Leg:
        if self._is_over:
            raise HungUpError
        if self._leg is None:
            raise NobodySpokeError("there is no stream yet: begin with listen() or wait(ms)")
        return self._leg


# ---------------------------------------------------------------------------------------------- voices


async def offline_voice(text: str) -> bytes:
    """A synthetic voice on this machine that the offline recogniser understands; needs `getpatter[offline]`."""
    if text not in _spoken:
        from getpatter.tts.local import speech  # noqa: PLC0415 - an optional extra

        with hold("the caller's voice"):
            _spoken[text] = await speech(text)
    return _spoken[text]


_spoken: Final[dict[str, bytes]] = {}


async def babble(text: str) -> bytes:
    """Speech-like sound, a syllable for every three letters: a voice detector hears a person, nobody words."""
    return _babbled(len(text))


@cache
def _babbled(letters: int) -> bytes:
    return syllables(max(1, round(letters / 3)), seed=letters)


def default_voice() -> Voice:
    """`offline_voice` where it is installed, else `babble`."""
    return offline_voice if find_spec("espeakng_loader") else babble


def wav(path: str | Path) -> bytes:
    """The sound of a WAV file, to `say`."""
    sound = read_wav(Path(path).read_bytes())
    return resampled(sound.pcm, sound.sample_rate, RATE)


def syllables(
    count: int, *, seed: int = 0, pitch_hz: float = 120.0, loudness: float = 0.25
) -> bytes:
    """So many syllables of 160 ms: a buzz through moving formants, with gaps as in speech."""
    dice = np.random.default_rng(seed)
    pieces: list[bytes] = []
    for _ in range(count):
        t = np.arange(round(0.16 * RATE)) / RATE
        hz = pitch_hz * (1 + 0.08 * dice.standard_normal())
        first, second = dice.uniform(300, 800), dice.uniform(900, 2200)
        harmonics = np.arange(1, int(3400 / hz))
        near = 1 / (1 + ((harmonics * hz - first) / 120) ** 2)
        near += 0.5 / (1 + ((harmonics * hz - second) / 180) ** 2)
        sound = (near[:, None] * np.sin(2 * np.pi * hz * harmonics[:, None] * t)).sum(axis=0)
        pieces.append(_pcm(_faded(sound, 0.02), loudness))
        pieces.append(bytes(2 * round(0.03 * RATE)))
    return b"".join(pieces)


def mumbled(ms: float, *, seed: int = 1) -> bytes:
    """Low, soft, without words: what a person says to themselves."""
    return syllables(max(1, round(ms / 190)), seed=seed, pitch_hz=95, loudness=0.06)


def coughed(*, seed: int = 2) -> bytes:
    """A cough: two short bursts of noise."""
    dice = np.random.default_rng(seed)
    bursts: list[bytes] = []
    for _ in range(2):
        noise = dice.standard_normal(round(0.14 * RATE))
        decay = np.exp(-np.arange(noise.size) / (0.04 * RATE))
        bursts += [_pcm(noise * decay, 0.4), bytes(2 * round(0.09 * RATE))]
    return b"".join(bursts)


def hummed(ms: float, *, hz: float = 140.0) -> bytes:
    """A steady hum, as of a person who thinks."""
    t = np.arange(round(ms * RATE / 1000)) / RATE
    tone = sum(np.sin(2 * np.pi * hz * n * t) / n**2 for n in (1, 2, 3))
    return _pcm(_faded(np.asarray(tone), 0.05), 0.12)


def _faded(
    sound: np.ndarray[tuple[int, ...], np.dtype[np.float64]], seconds: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    edge = min(round(seconds * RATE), sound.size // 2)
    ramp = np.linspace(0, 1, edge)
    sound = sound.copy()
    sound[:edge] *= ramp
    sound[sound.size - edge :] *= ramp[::-1]
    return sound


def _pcm(sound: np.ndarray[tuple[int, ...], np.dtype[np.float64]], loudness: float) -> bytes:
    peak = float(np.max(np.abs(sound))) or 1.0
    return (sound / peak * loudness * 32767).astype(np.int16).tobytes()


# ---------------------------------------------------------------------------------------------- steps


def say(what: str | bytes) -> Step:
    """Speak a text, or PCM16 at 8 kHz (see `wav`)."""
    return lambda handset: handset.say(what)


def mumble(ms: float = 600) -> Step:
    """Mumble something that is no word."""
    return say(mumbled(ms))


def cough() -> Step:
    """Cough."""
    return say(coughed())


def hum(ms: float = 800) -> Step:
    """Hum."""
    return say(hummed(ms))


def press(digits: str) -> Step:
    """Press keys."""

    async def step(handset: Handset) -> None:
        await handset.until(lambda _: True)
        handset.press(digits)

    return step


def listen(
    *, gap_ms: float = GAP_MS, patience_s: float = PATIENCE_S, on: Predicate | None = None
) -> Step:
    """Let the agent speak: wait until it has begun and then been silent for `gap_ms`, or until `on` is true.

    What the agent said before does not count, also when the caller spoke over it.
    """

    async def step(handset: Handset) -> None:
        await handset.until(lambda _: True, patience_s=patience_s)
        since = handset.now_ms

        def finished(handset: Handset) -> bool:
            if on is not None:
                return on(handset)
            return handset.heard_after(since) and handset.silent_ms >= gap_ms

        def begun_or_finished(handset: Handset) -> bool:
            return finished(handset) or (on is None and handset.heard_after(since))

        await handset.until(begun_or_finished, patience_s=patience_s)
        await handset.until(finished)

    return step


def silence(ms: float) -> Step:
    """Wait until the agent has been silent for so long, whether it spoke or not."""
    return lambda handset: handset.until(lambda each: each.silent_ms >= ms)


def wait(ms: float) -> Step:
    """Say nothing for so long."""

    async def step(handset: Handset) -> None:
        await handset.until(lambda _: True)
        until = handset.now_ms + ms
        await handset.until(lambda each: each.now_ms >= until)

    return step


def wait_until(wanted: Predicate, *, patience_s: float = PATIENCE_S) -> Step:
    """Wait for anything else: `wanted` is asked with every frame."""
    return lambda handset: handset.until(wanted, patience_s=patience_s)


def interrupt_after(ms: float, *, patience_s: float = PATIENCE_S) -> Step:
    """Wait until the agent has spoken for `ms`; what follows falls into its words."""

    async def step(handset: Handset) -> None:
        await handset.until(lambda _: True, patience_s=patience_s)
        since = handset.now_ms
        await handset.until(lambda each: each.heard_after(since), patience_s=patience_s)
        await wait(ms)(handset)

    return step


def hang_up() -> Step:
    """End the call."""

    async def step(handset: Handset) -> None:
        handset.hang_up()

    return step


# --------------------------------------------------------------------------------------------- people


@dataclass(frozen=True, slots=True)
class Program:
    """A person: what they do, and the voice they do it with."""

    steps: Sequence[Step]
    voice: Voice = field(default_factory=default_voice)

    async def __call__(self, handset: Handset) -> None:
        """Do it, step by step. A script that ends without `hang_up()` stays on the line and is silent."""
        for step in self.steps:
            await step(handset)


def Caller(*steps: Step, voice: Voice | None = None) -> Program:  # noqa: N802 - reads as a person
    """Somebody who does these steps, one after the other."""
    return Program(steps, voice or default_voice())


def Polite(*lines: str | bytes, gap_ms: float = GAP_MS, voice: Voice | None = None) -> Program:  # noqa: N802
    """Lets the agent finish before each line, and once more before hanging up."""
    steps: list[Step] = []
    for line in lines:
        steps += [listen(gap_ms=gap_ms), say(line)]
    return Caller(*steps, listen(gap_ms=gap_ms), hang_up(), voice=voice)


def Interrupter(  # noqa: N802
    *lines: str | bytes, after_ms: float = 600, voice: Voice | None = None
) -> Program:
    """Says each line into the middle of what the agent says, hears the rest, and hangs up."""
    steps: list[Step] = []
    for line in lines:
        steps += [interrupt_after(after_ms), say(line)]
    return Caller(*steps, listen(), hang_up(), voice=voice)


def Mumbler(*lines: str | bytes, voice: Voice | None = None) -> Program:  # noqa: N802
    """Coughs, hums and mumbles while the agent speaks, and then says each line all the same."""
    noises = (cough(), hum(500), mumble(400))
    steps: list[Step] = []
    for index, line in enumerate(lines):
        steps += [interrupt_after(500), noises[index % len(noises)], silence(GAP_MS), say(line)]
    return Caller(*steps, listen(), hang_up(), voice=voice)


def SilentOne(*, stays_s: float | None = None) -> Program:  # noqa: N802
    """Never says a word; hangs up after `stays_s` seconds, or never."""
    if stays_s is None:
        return Caller(voice=babble)
    return Caller(wait(stays_s * 1000), hang_up(), voice=babble)
