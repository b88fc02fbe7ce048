"""A telephone line without a telephone: what is played when, what is said when, and how it is measured.

All of it is pure. Time is passed in and counted in samples since the stream began, so a test can say to the
sample what a caller heard and how long an answer took from where the caller sits:

```
said    ....hello there..................................        Microphone
heard   ..........................good morning...........        PlayBuffer
                   |<- latency ->|
```
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from getpatter.audio.convert import converter
from getpatter.audio.wav import interleaved, wav_bytes
from getpatter.types import PCM16_8K, AudioFormat, Encoding, Instant

FRAME_S: Final = 0.02
"""Carriers send the caller's sound in pieces this long."""
_LOUD: Final = 330.0
"""Root mean square, of 32768, above which a piece is a voice: -40 dBFS."""
_BLOCK_MS: Final = 10


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is wrong with a line. Nothing, unless said."""

    jitter_ms: float = 0.0
    """Frames towards the server are late by 0 to this much. They stay in order, as TCP keeps them."""
    loss: float = 0.0
    """Part of the caller's frames, 0 to 1, that never reach the server."""
    late_marks_ms: float = 0.0
    """Marks come back this much after the audio before them was heard."""
    stops_twice: bool = False
    """The end of the stream is announced twice."""
    seed: int = 0
    """Equal seeds make equal accidents."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something that the server did and the carrier would not have accepted."""

    at: Instant
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Audio and the sample, counted from the beginning of the stream, at which it became audible."""

    start: int
    data: bytes


class PlayBuffer:
    """What the far end plays to the caller: queued audio, one piece after the other, in real time."""

    def __init__(
        self, audio_format: AudioFormat, began: Instant, *, mark_delay_ms: float = 0.0
    ) -> None:
        """Nothing is queued. `began` is sample 0."""
        self.format = audio_format
        self.began = began
        self.pieces: list[Piece] = []
        """What was or will be audible, in order, without overlap."""
        self._width = audio_format.bytes_per_sample
        self._end = 0
        self._mark_delay = mark_delay_ms / 1000
        self._marks: deque[tuple[Instant, str]] = deque()

    def sample(self, at: Instant) -> int:
        """The sample that is being heard at that instant."""
        return round((at - self.began) * self.format.sample_rate)

    def instant(self, sample: int) -> Instant:
        """When that sample is heard."""
        return Instant(self.began + sample / self.format.sample_rate)

    def play(self, data: bytes, now: Instant) -> None:
        """Queue audio behind what waits already; heard at once when nothing does."""
        whole = len(data) - len(data) % self._width
        if not whole:
            return
        start = max(self._end, self.sample(now))
        self.pieces.append(Piece(start, data[:whole]))
        self._end = start + whole // self._width

    def mark(self, name: str, now: Instant) -> None:
        """Remember to tell when everything queued so far has been heard."""
        heard_at = self.instant(max(self._end, self.sample(now)))
        self._marks.append((Instant(max(now, heard_at) + self._mark_delay), name))

    def clear(self, now: Instant) -> list[str]:
        """Drop what has not been heard. Returns the marks that were waited for, which are due at once."""
        cut = self.sample(now)
        while self.pieces and self.pieces[-1].start >= cut:
            self.pieces.pop()
        if self.pieces:
            last = self.pieces[-1]
            self.pieces[-1] = Piece(last.start, last.data[: (cut - last.start) * self._width])
        self._end = min(self._end, cut)
        names = [name for _, name in self._marks]
        self._marks.clear()
        return names

    def marks_played(self, now: Instant) -> list[str]:
        """Marks whose audio has been heard by now; each is told once."""
        names: list[str] = []
        while self._marks and self._marks[0][0] <= now:
            names.append(self._marks.popleft()[1])
        return names

    @property
    def next_mark(self) -> Instant | None:
        """When the next mark comes due; `None` when none is outstanding."""
        return self._marks[0][0] if self._marks else None

    def queued_ms(self, now: Instant) -> float:
        """Milliseconds of audio that wait to be heard."""
        return max(0, self._end - self.sample(now)) / self.format.sample_rate * 1000

    def between(self, start: int, end: int) -> bytes:
        """The audio of these samples, with silence where nothing was played."""
        sound = bytearray(self.format.silence * max(0, end - start))
        first = bisect_right(self.pieces, start, key=lambda piece: piece.start)
        for piece in self.pieces[max(0, first - 1) :]:
            if piece.start >= end:
                break
            a = max(start, piece.start)
            b = min(end, piece.start + len(piece.data) // self._width)
            if a < b:
                inner = slice((a - piece.start) * self._width, (b - piece.start) * self._width)
                sound[(a - start) * self._width : (b - start) * self._width] = piece.data[inner]
        return bytes(sound)

    def is_silent_from(self, start: int) -> bool:
        """Whether nothing is queued for that sample or any after it."""
        return start >= self._end

    def heard(self, now: Instant) -> bytes:
        """Everything that has been audible up to now, silence included."""
        return self.between(0, self.sample(now))


class Microphone:
    """What the caller says: sound that was asked for, silence in between, cut into frames."""

    def __init__(self, audio_format: AudioFormat) -> None:
        """The caller is silent."""
        self.format = audio_format
        self.said = bytearray()
        """Everything that was sent, silence included, lost frames too."""
        self._waiting = bytearray()

    @property
    def is_speaking(self) -> bool:
        """Whether there is sound left to send."""
        return bool(self._waiting)

    def say(self, data: bytes) -> None:
        """Speak after what is being said already."""
        self._waiting += data

    def stop(self) -> None:
        """Break off in mid-word."""
        self._waiting.clear()

    def frame(self) -> bytes:
        """The next frame, silence when nothing is being said."""
        size = self.format.size(FRAME_S * 1000)
        sound = bytes(self._waiting[:size])
        del self._waiting[:size]
        missing = (size - len(sound)) // self.format.bytes_per_sample
        sound += self.format.silence * missing
        self.said += sound
        return sound


@dataclass(frozen=True, slots=True)
class Span:
    """Where a voice was heard, in samples since the stream began; `end` is the first silent one."""

    start: int
    end: int


class Ear:
    """Finds the voice in PCM16 by its loudness. Give it every piece of the stream, in order."""

    def __init__(self, sample_rate: int, *, loud: float = _LOUD) -> None:
        """`loud`: root mean square of 32768 that counts as a voice."""
        self._rate = sample_rate
        self._block = sample_rate * _BLOCK_MS // 1000
        self._loud = loud
        self._position = 0
        self._rest = np.zeros(0, np.int16)
        self.first: int | None = None
        """First sample of a voice, ever."""
        self.last: int | None = None
        """The sample after the latest voice."""

    @property
    def position(self) -> int:
        """Samples listened to so far."""
        return self._position + self._rest.size

    def silent_ms(self) -> float:
        """How long it has been silent at the end of what was given; since the beginning if always."""
        return (self.position - (self.last or 0)) / self._rate * 1000

    def listen(self, pcm: bytes) -> list[Span]:
        """Take the next piece; returns the loud blocks in it."""
        if not self._rest.size and len(pcm) % (2 * self._block) == 0 and not pcm.strip(b"\0"):
            self._position += len(pcm) // 2
            return []
        samples = np.concatenate([self._rest, np.frombuffer(pcm, np.int16)])
        whole = samples.size // self._block
        blocks = samples[: whole * self._block].reshape(whole, self._block).astype(np.float32)
        energy = np.einsum("ij,ij->i", blocks, blocks) / self._block
        found: list[Span] = []
        for index in (energy > self._loud**2).nonzero()[0]:
            start = self._position + int(index) * self._block
            audible = np.flatnonzero(np.abs(blocks[index]) > self._loud)
            span = Span(start + int(audible[0]), start + int(audible[-1]) + 1)
            found.append(span)
            self.first = span.start if self.first is None else self.first
            self.last = span.end
        self._position += whole * self._block
        self._rest = samples[whole * self._block :]
        return found


def spans(pcm: bytes, sample_rate: int, *, gap_ms: float = 300.0) -> list[Span]:
    """Where a voice is in a whole recording (PCM16); pauses shorter than `gap_ms` belong to it."""
    merged: list[Span] = []
    gap = gap_ms * sample_rate / 1000
    for span in Ear(sample_rate).listen(pcm):
        if merged and span.start - merged[-1].end < gap:
            merged[-1] = Span(merged[-1].start, span.end)
        else:
            merged.append(span)
    return merged


def answer_times(said: Sequence[Span], heard: Sequence[Span], sample_rate: int) -> list[float]:
    """Milliseconds from the end of each utterance of the caller to the first sound heard after it.

    Utterances that were never answered before the next one, or during which the other side already spoke
    on past their end, have no answer and are left out.
    """
    times: list[float] = []
    for index, utterance in enumerate(said):
        until = said[index + 1].start if index + 1 < len(said) else None
        if any(each.start < utterance.end < each.end for each in heard):
            continue
        onset = next((each.start for each in heard if each.start >= utterance.end), None)
        if onset is not None and (until is None or onset < until):
            times.append((onset - utterance.end) / sample_rate * 1000)
    return times


class Leg(Protocol):
    """The carrier's end of one media socket: pure, told what time it is.

    Its driver sends what `tick` returns, calls it again at `deadline`, and hands over what arrives.
    """

    play: PlayBuffer
    microphone: Microphone
    complaints: list[Complaint]

    @property
    def deadline(self) -> Instant | None:
        """When `tick` has to be called next; `None` once the stream is over."""
        ...

    def tick(self, now: Instant) -> list[str]:
        """Frames to send now, in order."""
        ...

    def receive(self, frame: str | bytes, now: Instant) -> None:
        """A frame of the server: text, or bytes for a binary one."""
        ...

    def press(self, digits: str, now: Instant) -> None:
        """The caller presses keys, one after the other."""
        ...

    def stop(self, now: Instant) -> None:
        """The stream is over; the last `tick` returns how it says so."""
        ...


def pcm_of(data: bytes, audio_format: AudioFormat) -> bytes:
    """A whole recording as PCM16 at the same rate."""
    plain = AudioFormat(Encoding.PCM16, audio_format.sample_rate)
    change = converter(audio_format, plain)
    return change.convert(data) + change.flush()


def as_heard_by(data: bytes, audio_format: AudioFormat, *, source: AudioFormat = PCM16_8K) -> bytes:
    """A whole recording of format `source` in the format of a line."""
    change = converter(source, audio_format)
    return change.convert(data) + change.flush()


class Tape:
    """Both sides of one stream, for measuring and for listening."""

    def __init__(self, play: PlayBuffer, microphone: Microphone, now: Instant) -> None:
        """What was said and heard up to `now`."""
        self.sample_rate = play.format.sample_rate
        length = max(0, play.sample(now))
        self.heard = pcm_of(play.between(0, length), play.format)
        """What the caller heard: PCM16."""
        self.said = pcm_of(bytes(microphone.said), microphone.format)
        """What the caller said: PCM16."""

    def wav(self) -> bytes:
        """A stereo WAV file: caller left, agent right, aligned in time."""
        return wav_bytes(interleaved(self.said, self.heard), self.sample_rate, 2)

    def said_spans(self, *, gap_ms: float = 300.0) -> list[Span]:
        """Where the caller spoke."""
        return spans(self.said, self.sample_rate, gap_ms=gap_ms)

    def heard_spans(self, *, gap_ms: float = 300.0) -> list[Span]:
        """Where the agent was heard."""
        return spans(self.heard, self.sample_rate, gap_ms=gap_ms)

    def answer_times(self, *, gap_ms: float = 700.0) -> list[float]:
        """Milliseconds from the end of what the caller said to the first sound heard, for each turn."""
        return answer_times(self.said_spans(gap_ms=gap_ms), self.heard_spans(), self.sample_rate)
