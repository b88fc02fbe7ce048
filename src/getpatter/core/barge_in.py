"""What counts as an interruption, and what is a cough, a hum or an echo of either.

Two witnesses are heard. The voice detector knows *what* a sound is, but not when: it is sure 40 to 130 ms
after a voice has begun, and for as long after it has ended, so a sound of 150 ms looks like one of 290 ms to whoever
counts its frames. Loudness knows *when* to within 8 ms, but not what. So the detector says that there is speech, and
loudness how long it has been there:

```
loudness       ......########################......
detector                 ###########################
counted as           |<--- length of the speech -->|
```

All lengths are counted in audio, never on a clock: verdicts that come late or in bursts mean the same. A sound
interrupts when it has lasted as long as the threshold says, less `_LEAD_MS`, so that the agent is silent by then.

A hum ("mm-hm") is no interruption however long it lasts, for the mouth has to open before anybody can say
something; the hum before a word counts as part of the word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

GAP_MS: Final = 100.0
"""Silence inside one burst of speech: the closure of a plosive lasts up to about 90 ms."""
MS_PER_WORD: Final = 250.0
"""Length taken for a word that only the recogniser heard (240 words a minute: fast speech)."""
_LOOK_BACK_MS: Final = 160.0
"""How much of the sound before the detector's first verdict belongs to it: a slow /s/ is 130 ms."""
_LEAD_MS: Final = 24.0
"""What passes at worst until a verdict is heard: a carrier's frame of 20 ms and a turn of the detector."""
_CERTAIN_MS: Final = 64.0
"""Speech of which the detector is sure, before anything is interrupted: one frame can be a mistake."""
_OPEN_MS: Final = 64.0
"""Sound of an open mouth, before anything is interrupted."""
_DIM: Final = 0.08
"""Brightness of a hum: the nose lets next to nothing pass above 500 Hz."""
_FAINT: Final = 0.1
"""Of the power of the loudest part of the burst (-10 dB): no vowel."""
_ABOVE_FLOOR: Final = 8.0
"""A sound has so many times the power of the line's noise (9 dB)."""
_QUIETEST: Final = 1e-5
"""Power that is nothing on any line (-50 dB of full scale)."""
_LOUDEST_FLOOR: Final = 1e-3
"""A line with more noise than this (-30 dB) has been taken for one in mid-word."""
_FLOOR_RISES: Final = 1.024
"""With each frame of 32 ms: 3 dB a second."""


@dataclass(slots=True)
class BargeIn:
    """Speech over the agent, added up until it means something."""

    threshold_ms: float
    """Sustained speech that interrupts; 0 switches interruption off."""
    onset_probability: float = 0.5
    _now: float = 0.0
    _floor: float = -1.0
    _sound_from: float = 0.0
    _sound_to: float = -GAP_MS
    _began: float = -1.0
    """Where the burst of speech began; negative while there is none."""
    _voice_to: float = 0.0
    _certain_ms: float = 0.0
    _open_ms: float = 0.0
    _loudest: float = 0.0
    _is_reached: bool = False

    def voice(
        self,
        probability: float,
        frame_ms: float,
        powers: Sequence[float] = (),
        brightness: float = 1.0,
    ) -> bool:
        """Add one detector frame. True when the threshold is reached by it.

        `powers` are those of equal parts of the frame, 1 being full scale; without them the frame is taken for a
        sound when it holds speech. `brightness` is the power of the sound's first difference over that of the
        sound: 0.01 for a hum at 130 Hz, 0.1 and more for an open vowel, 2 for white noise.
        """
        begins = self._now
        self._now += frame_ms
        is_voice = probability >= self.onset_probability
        if powers:
            is_voice &= self._listen(powers, begins, frame_ms)
        elif is_voice:
            self._sound(begins, self._now)
        if is_voice:
            if self._began < 0:
                self._began = max(self._sound_from, begins - _LOOK_BACK_MS)
            self._certain_ms += frame_ms
            if self._is_open_mouth(powers, brightness):
                self._open_ms += frame_ms
            self._voice_to = self._now
            return self._reaches_now(frame_ms)
        if self._now - min(self._sound_to, self._voice_to) > GAP_MS:
            self.reset()
        return False

    def _listen(self, powers: Sequence[float], begins: float, frame_ms: float) -> bool:
        """Find the sound in a frame. True when there is any."""
        lowest = min(powers)
        if self._floor < 0 or lowest < self._floor:
            self._floor = min(lowest, _LOUDEST_FLOOR)
        else:
            self._floor = max(self._floor, _QUIETEST / _ABOVE_FLOOR) * _FLOOR_RISES
        audible = max(_ABOVE_FLOOR * self._floor, _QUIETEST)
        part_ms = frame_ms / len(powers)
        is_sound = False
        for index, power in enumerate(powers):
            if power > audible:
                is_sound = True
                self._sound(begins + index * part_ms, begins + (index + 1) * part_ms)
        return is_sound

    def _is_open_mouth(self, powers: Sequence[float], brightness: float) -> bool:
        loudest = max(powers, default=1.0)
        self._loudest = max(self._loudest, loudest)
        # The breath inside of an "mm-hm" is bright, and faint.
        return brightness >= _DIM and loudest >= _FAINT * self._loudest

    def _sound(self, begins: float, ends: float) -> None:
        if begins - self._sound_to > GAP_MS:
            self._sound_from = begins
        self._sound_to = ends

    def words(self, count: int, lasts_ms: float | None) -> bool:
        """The recogniser alone heard `count` words. True when they amount to an interruption."""
        # Not added to the detector's count: on a noisy line that is over the threshold already.
        length = MS_PER_WORD * count if lasts_ms is None else lasts_ms
        return 0 < self.threshold_ms <= length

    @property
    def is_reached(self) -> bool:
        """Whether the present burst has reached the threshold."""
        return self._is_reached

    def _reaches_now(self, frame_ms: float) -> bool:
        if self.threshold_ms <= 0 or self._is_reached or not self._is_certain:
            return False
        # The next verdict comes a frame later; whoever waits for it is late.
        self._is_reached = self.speech_ms > self.threshold_ms - frame_ms - _LEAD_MS
        return self._is_reached

    @property
    def _is_certain(self) -> bool:
        wanted = min(self.threshold_ms, _CERTAIN_MS)
        return self._certain_ms >= wanted and self._open_ms >= min(self.threshold_ms, _OPEN_MS)

    @property
    def speech_ms(self) -> float:
        """Length of the present burst of speech."""
        return self._sound_to - self._began if self._began >= 0 else 0.0

    def reset(self) -> None:
        """The burst is over."""
        self._began = -1.0
        self._certain_ms = self._open_ms = self._loudest = 0.0
        self._is_reached = False
