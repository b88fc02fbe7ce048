"""One voice detector for all calls of the process: many frames in one pass of the network.

A frame costs 55 us when it comes alone and 9 us in the company of 64 others (benchmarks/vad.py). So the
runtime pushes bytes as they come from the carriers, which costs next to nothing, and lets the frames of
all calls be computed together, once every 20 ms or so. Each call's probabilities are the same as alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from getpatter.audio.g711 import ALAW_FLOATS, MULAW_FLOATS
from getpatter.audio.pcm import INT16, Float32
from getpatter.types import Encoding, StreamMs
from getpatter.vad.silero_network import FRAME, FRAME_MS, States, probabilities

_FULL_SCALE: Final = np.float32(1 / 32768)
_TABLES: Final = {
    Encoding.MULAW: MULAW_FLOATS * _FULL_SCALE,
    Encoding.ALAW: ALAW_FLOATS * _FULL_SCALE,
}
_FRAME_BYTES: Final = {Encoding.MULAW: FRAME, Encoding.ALAW: FRAME, Encoding.PCM16: 2 * FRAME}
_PARTS: Final = 4
_NOTHING: Final = np.float32(1e-12)
_MOST_FRAMES: Final = 312
"""Ten seconds may wait for `run`; of a loop that stands longer, the oldest sound is dropped."""


class Verdict(NamedTuple):
    """What the network says about 32 ms of one call."""

    slot: int
    probability: float
    """How likely the frame holds speech."""
    frame_end_ms: StreamMs
    """Where in the call's audio the frame ends."""
    powers: tuple[float, ...] = ()
    """Mean square of each 8 ms, full scale being 1."""
    brightness: float = 1.0
    """Power of the first difference over the power: 0.01 for a low hum, 2 for white noise."""


class _Line:
    """What is waiting to be heard on one call."""

    __slots__ = ("encoding", "frame_bytes", "frames_heard", "waiting")

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.frame_bytes = _FRAME_BYTES[encoding]
        self.waiting = bytearray()
        self.frames_heard = 0

    def drop_oldest(self) -> None:
        """Keep to the limit. What is dropped counts as heard: the place in the stream stays right."""
        too_many = len(self.waiting) // self.frame_bytes - _MOST_FRAMES
        if too_many > 0:
            del self.waiting[: too_many * self.frame_bytes]
            self.frames_heard += too_many

    def next_frame(self) -> bytes:
        frame = bytes(self.waiting[: self.frame_bytes])
        del self.waiting[: self.frame_bytes]
        self.frames_heard += 1
        return frame


class SileroBatch:
    """The voice detector of all calls. One thread (or loop) uses it; every call has a slot.

    ```python
    slot = batch.add(Encoding.MULAW)
    batch.push(slot, payload)              # whenever audio comes, any size, 8 kHz
    for slot, probability, end in batch.run():
        ...                                # once every 20 ms or so
    batch.remove(slot)
    ```
    """

    __slots__ = ("_free", "_lines", "_ready", "_states")

    _FIRST_ROWS: Final = 16

    def __init__(self) -> None:
        """No calls yet. The weights are loaded by the first frame, unless `warm_up` is called."""
        self._states = States(self._FIRST_ROWS)
        # The slot that has been free for longest goes first, so that a late verdict meets no new call.
        self._free = deque(range(self._FIRST_ROWS))
        self._lines: dict[int, _Line] = {}
        self._ready: dict[int, _Line] = {}

    def __len__(self) -> int:
        """How many calls are listened to."""
        return len(self._lines)

    def warm_up(self) -> None:
        """Load the weights now (about 20 ms), so that no call waits for it."""
        probabilities(np.zeros((1, FRAME), np.float32), States(1), [0])

    def add(self, encoding: Encoding = Encoding.MULAW) -> int:
        """A slot for a new call, whose audio will be 8 kHz in `encoding`."""
        if not self._free:
            rows = len(self._lines)
            self._states.grow(2 * rows)
            self._free.extend(range(rows, 2 * rows))
        slot = self._free.popleft()
        self._states.clear(slot)
        self._lines[slot] = _Line(encoding)
        return slot

    def remove(self, slot: int) -> None:
        """The call is over: its slot is free for another one. A second time does nothing."""
        if self._lines.pop(slot, None) is not None:
            self._ready.pop(slot, None)
            self._free.append(slot)

    def push(self, slot: int, data: bytes) -> None:
        """Add audio of a call; of a slot that was removed it is ignored.

        At most ten seconds wait for `run`: of more, the oldest is dropped.
        """
        line = self._lines.get(slot)
        if line is None:
            return
        line.waiting += data
        if len(line.waiting) >= line.frame_bytes:
            self._ready[slot] = line
            line.drop_oldest()

    @property
    def is_ready(self) -> bool:
        """Whether any call has a complete frame for `run`."""
        return bool(self._ready)

    def reset(self, slot: int) -> None:
        """Forget what a call said so far (but not how much of it was heard)."""
        line = self._lines.get(slot)
        if line is not None:
            self._states.clear(slot)
            line.waiting.clear()
            self._ready.pop(slot, None)

    def run(self) -> list[Verdict]:
        """Hear every complete frame of every call; verdicts of one call come in the order of its audio.

        Takes about 9 us a frame, and runs to the end on the calling thread.
        """
        found: list[Verdict] = []
        while self._ready:
            # Rows of one encoding side by side, so that each table is used once.
            slots = sorted(self._ready, key=self._encoding_of)
            frames = self._frames(slots)
            heard = probabilities(frames, self._states, slots)
            for slot, probability, (powers, brightness) in zip(
                slots, heard, loudness(frames), strict=True
            ):
                line = self._ready[slot]
                end = StreamMs(line.frames_heard * FRAME_MS)
                found.append(Verdict(slot, probability, end, powers, brightness))
                if len(line.waiting) < line.frame_bytes:
                    del self._ready[slot]
        return found

    def _encoding_of(self, slot: int) -> Encoding:
        return self._ready[slot].encoding

    def _frames(self, slots: list[int]) -> Float32:
        frames = np.empty((len(slots), FRAME), np.float32)
        at = 0
        while at < len(slots):
            encoding = self._encoding_of(slots[at])
            end = at
            pieces: list[bytes] = []
            while end < len(slots) and self._encoding_of(slots[end]) is encoding:
                pieces.append(self._ready[slots[end]].next_frame())
                end += 1
            frames[at:end] = decoded(b"".join(pieces), encoding).reshape(-1, FRAME)
            at = end
        return frames


def loudness(frames: Float32) -> Iterator[tuple[tuple[float, ...], float]]:
    """Of each frame: the power of its parts of 8 ms, and its brightness (see `Verdict`)."""
    parts = frames.reshape(-1, _PARTS, FRAME // _PARTS)
    powers = np.einsum("ijk,ijk->ij", parts, parts) / (FRAME // _PARTS)
    steps = frames[:, 1:] - frames[:, :-1]
    changes = np.einsum("ij,ij->i", steps, steps) / FRAME
    brightness = changes / (np.einsum("ij->i", powers) / _PARTS + _NOTHING)
    return zip(map(tuple, powers.tolist()), brightness.tolist(), strict=True)


def decoded(data: bytes, encoding: Encoding) -> Float32:
    """Samples between -1 and 1, as the network takes them."""
    if encoding is Encoding.PCM16:
        return np.frombuffer(data, INT16) * _FULL_SCALE
    return _TABLES[encoding][np.frombuffer(data, np.uint8)]
