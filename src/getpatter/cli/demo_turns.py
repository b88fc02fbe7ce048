"""What a call amounted to, turn by turn, measured on the caller's side of the line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

from getpatter.audio.convert import converter
from getpatter.cli.demo_call import Act, Line, Outcome
from getpatter.testing.line import Span, Tape, pcm_of
from getpatter.tts.base import TTSProvider, output_format
from getpatter.types import PCM16_8K

__all__ = ["Turn", "is_heard", "rendered", "sentences", "turns_of"]

_MS: Final = 1000
_SENTENCE: Final = re.compile(r"[^.!?]+[.!?]*\s*")
_SAME: Final = 0.93
"""Likeness from which on two sounds are the same words by the same voice: those have 0.98 and more, others at
most 0.86 ("Tuesday" for "Thursday" in a sentence of six words)."""
_BANDS: Final = 16
_WINDOW: Final = 256
_HOP: Final = 80
_SILENCE: Final = 1e-3
"""Energy of a band that counts as silence."""

_Floats: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.float64]]"


@dataclass(slots=True)
class Turn:
    """What the caller did, what was made of it, and what they heard."""

    act: Act | None
    """`None`: the agent spoke first, or unasked."""
    understood: list[str] = field(default_factory=list)
    heard: list[Line] = field(default_factory=list)
    answered_ms: float | None = None
    """From the caller's last sound (or key) to the first sound of the answer."""
    stopped_ms: float | None = None
    """For an interruption: from its first sound until the agent was silent."""

    @property
    def answer(self) -> str:
        """What the caller heard, as the transcript has it."""
        return " ".join(line.text for line in self.heard)

    @property
    def was_cut(self) -> bool:
        """Whether the caller interrupted the answer."""
        return any(line.is_interrupted for line in self.heard)


def turns_of(outcome: Outcome, tape: Tape) -> list[Turn]:
    """The greeting, then one turn for each act of the caller."""
    turns = [Turn(None), *(Turn(act) for act in outcome.acts)]
    current = turns[0]
    for line in outcome.lines:
        if line.role == "user":
            begun = [turn for turn in turns[1:] if turn.act and turn.act.began_ms <= line.at_ms]
            current = begun[-1] if begun else current
            current.understood.append(line.text)
        else:
            current.heard.append(line)
    said, heard = tape.said_spans(), tape.heard_spans()
    for turn, following in zip(turns, [*turns[1:], None], strict=True):
        if turn.act is not None:
            until = following.act.began_ms if following and following.act else None
            _measure(turn, turn.act, _Ear(said, heard, tape.sample_rate), until)
    return turns


@dataclass(frozen=True, slots=True)
class _Ear:
    """When either side was audible."""

    said: Sequence[Span]
    heard: Sequence[Span]
    rate: int

    def ms(self, sample: int) -> float:
        return sample / self.rate * _MS


def _measure(turn: Turn, act: Act, ear: _Ear, until_ms: float | None) -> None:
    began, ended = act.began_ms, act.ended_ms
    if not act.is_key:
        # By overlap: a stream that was held up for a moment is caught up on in sound from before `began`.
        voiced = [
            span for span in ear.said if ear.ms(span.end) > began and ear.ms(span.start) <= ended
        ]
        if not voiced:
            return
        began, ended = ear.ms(voiced[0].start), ear.ms(voiced[-1].end)
    onset = next((ear.ms(span.start) for span in ear.heard if ear.ms(span.start) >= ended), None)
    if onset is not None and (until_ms is None or onset < until_ms):
        turn.answered_ms = onset - ended
    if act.is_interruption:
        cut = [ear.ms(span.end) for span in ear.heard if ear.ms(span.start) < began]
        if cut and cut[-1] > began:
            turn.stopped_ms = cut[-1] - began


# ------------------------------------------------------------------------------------------ was it heard?


def sentences(text: str) -> list[str]:
    """`text`, sentence by sentence."""
    return [found.group().strip() for found in _SENTENCE.finditer(text)]


async def rendered(voice: TTSProvider, sentence: str) -> bytes:
    """What a sentence sounds like in that voice over the telephone: PCM16 at 8 kHz."""
    sound = b"".join([piece async for piece in voice.synthesize(sentence)])
    form = output_format(voice)
    plain = pcm_of(sound, form)
    if form.sample_rate == PCM16_8K.sample_rate:
        return plain
    change = converter(type(form)(PCM16_8K.encoding, form.sample_rate), PCM16_8K)
    return change.convert(plain) + change.flush()


def is_heard(sound: bytes, heard: bytes) -> bool:
    """Whether `sound` is in `heard`, whole and undisturbed (both PCM16 at 8 kHz)."""
    return likeness(sound, heard) >= _SAME


def likeness(sound: bytes, heard: bytes) -> float:
    """How much `sound` is like the part of `heard` that is most like it, up to 1.

    The voice is never twice the same sample by sample, so loudness over time is compared, band by band.
    """
    part, whole = _bands(sound), _bands(heard)
    length = len(part)
    if not length or len(whole) < length:
        return 0.0
    part = part - part.mean(axis=0)
    match = sum(np.correlate(whole[:, band], part[:, band], "valid") for band in range(_BANDS))
    sums = _running(whole, length)
    spread = np.sum(_running(whole**2, length) - sums**2 / length, axis=1)
    scale = np.sqrt(np.maximum(spread, 1e-9) * np.sum(part**2))
    return float(np.max(match / scale))


def _running(values: _Floats, length: int) -> _Floats:
    """Sums over every `length` rows."""
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    sums: _Floats = total[length:] - total[:-length]
    return sums


def _bands(pcm: bytes) -> _Floats:
    """Loudness in decibels: a row for every 10 ms, a column for each band."""
    samples = np.trim_zeros(np.frombuffer(pcm, np.int16)).astype(np.float64) / 32768
    if samples.size < _WINDOW:
        return np.zeros((0, _BANDS))
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW), axis=1)) ** 2
    edges = np.linspace(2, power.shape[1], _BANDS + 1).astype(int)
    energy = np.add.reduceat(power, edges[:-1], axis=1)
    loudness: _Floats = 10 * np.log10(energy + _SILENCE)
    return loudness
