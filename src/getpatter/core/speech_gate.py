"""When does speech begin and end? A voice detector's probabilities, turned into two edges.

Counted in audio, frame by frame, never on a clock: the verdicts may arrive late or in bursts and mean the
same. Two thresholds keep the answer steady (speech begins above the higher one and goes on above the lower
one), and two lengths keep it honest:

```
probability   0.1 0.2 0.8 0.9 0.3 0.9 0.9 0.9 0.9 ... 0.9 0.1 0.2 0.1 ... 0.1
                      |-- min_speech_ms --|               |- min_silence_ms -|
                      onset               SpeechStarted   last speech        SpeechStopped
```

A burst shorter than `min_speech_ms` (a cough, a click) is nothing; a pause shorter than `min_silence_ms`
is part of the sentence. Both events say how long ago the edge was.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from getpatter.types import StreamMs

CLOSURE_MS: Final = 100.0
"""Silence that may lie inside a burst of speech: the closure of a plosive lasts up to about 90 ms."""
_HYSTERESIS: Final = 0.15
_LOWEST_DEACTIVATION: Final = 0.01


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """It is certain now that somebody is speaking."""

    at: StreamMs
    """Where in the audio it began (less the padding, if any)."""
    ago_ms: float
    """How long that was before the end of the frame that made it certain."""
    probability: float
    """Highest of the frames so far."""


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """It is certain now that nobody is speaking any more."""

    at: StreamMs
    """Where in the audio the last speech ended."""
    ago_ms: float
    """How long that was before the end of the frame that made it certain."""
    lasted_ms: float
    """From the first speech to the last."""


class _Heard(Enum):
    SILENCE = auto()
    BURST = auto()
    """Speech that is not long enough yet to be believed."""
    SPEECH = auto()
    PAUSE = auto()
    """Silence that is not long enough yet to be believed."""


class SpeechGate:
    """Finds the edges of speech on one stream. Feed it every frame of the detector, in order."""

    __slots__ = (
        "_burst_ms",
        "_heard",
        "_last_speech",
        "_now",
        "_onset",
        "_peak",
        "deactivation",
        "min_silence_ms",
        "min_speech_ms",
        "padding_ms",
        "threshold",
    )

    def __init__(
        self,
        *,
        min_speech_ms: float = 250.0,
        min_silence_ms: float = 400.0,
        threshold: float = 0.5,
        deactivation: float | None = None,
        padding_ms: float = 0.0,
    ) -> None:
        """Make a gate that is silent so far.

        `min_speech_ms` of frames above the threshold begin speech, `min_silence_ms` of frames below
        `deactivation` (default: `threshold` less 0.15) end it; with 0 the first frame does. `padding_ms` is
        taken off the reported beginning, which the detector always hears a little late.

        Raises:
            ValueError: a negative length, or a threshold that is no probability.
        """
        if deactivation is None:
            deactivation = max(threshold - _HYSTERESIS, min(threshold, _LOWEST_DEACTIVATION))
        if not 0 <= deactivation <= threshold <= 1:
            raise ValueError(
                f"thresholds must be 0 <= deactivation ({deactivation}) <= activation ({threshold}) <= 1"
            )
        if min(min_speech_ms, min_silence_ms, padding_ms) < 0:
            raise ValueError("lengths of speech, silence and padding must not be negative")
        self.min_speech_ms = min_speech_ms
        self.min_silence_ms = min_silence_ms
        self.threshold = threshold
        self.deactivation = deactivation
        self.padding_ms = padding_ms
        self._now = 0.0
        self.reset()

    @property
    def is_speech(self) -> bool:
        """True between `SpeechStarted` and `SpeechStopped`."""
        return self._heard in {_Heard.SPEECH, _Heard.PAUSE}

    @property
    def heard_ms(self) -> StreamMs:
        """Audio fed so far."""
        return StreamMs(self._now)

    @property
    def speech_ms(self) -> float:
        """Length of the present speech, from its beginning to its last frame; 0 in silence."""
        return self._last_speech - self._onset if self.is_speech else 0.0

    @property
    def silence_ms(self) -> float:
        """How long ago the last speech ended, or the stream began; 0 while somebody speaks."""
        return self._now - self._last_speech

    def feed(self, probability: float, frame_ms: float) -> SpeechStarted | SpeechStopped | None:
        """Hear the next frame. Returns the edge that became certain with it, if one did."""
        self._now += frame_ms
        match self._heard:
            case _Heard.SILENCE | _Heard.BURST:
                return self._while_silent(probability, frame_ms)
            case _Heard.SPEECH | _Heard.PAUSE:
                return self._while_speaking(probability)

    def reset(self) -> None:
        """Back to silence, where the stream is now; an edge that was pending is dropped."""
        self._heard = _Heard.SILENCE
        self._onset = self._last_speech = self._now
        self._burst_ms = self._peak = 0.0

    def _while_silent(self, probability: float, frame_ms: float) -> SpeechStarted | None:
        goes_on = self._heard is _Heard.BURST and probability >= self.deactivation
        if probability >= self.threshold or goes_on:
            if self._heard is _Heard.SILENCE:
                self._heard = _Heard.BURST
                self._onset = self._now - frame_ms
                self._burst_ms = self._peak = 0.0
            self._burst_ms += frame_ms
            self._peak = max(self._peak, probability)
            self._last_speech = self._now
            if self._burst_ms >= self.min_speech_ms:
                self._heard = _Heard.SPEECH
                at = max(0.0, self._onset - self.padding_ms)
                return SpeechStarted(StreamMs(at), self._now - at, self._peak)
        elif self._heard is _Heard.BURST and self._now - self._last_speech > CLOSURE_MS:
            self._heard = _Heard.SILENCE
        return None

    def _while_speaking(self, probability: float) -> SpeechStopped | None:
        if probability >= self.deactivation:
            self._heard = _Heard.SPEECH
            self._last_speech = self._now
            return None
        self._heard = _Heard.PAUSE
        silent = self._now - self._last_speech
        if silent < self.min_silence_ms:
            return None
        self._heard = _Heard.SILENCE
        lasted = self._last_speech - self._onset
        return SpeechStopped(StreamMs(self._last_speech), silent, lasted)
