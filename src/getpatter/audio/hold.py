"""What a caller hears who is kept waiting: two soft chords, over and over."""

from __future__ import annotations

from typing import Final

import numpy as np

from getpatter.audio.wav import wav_bytes

RATE: Final = 8000
_CHORDS: Final = ((261.6, 329.6, 392.0), (220.0, 261.6, 349.2))
_CHORD_S: Final = 2.0
_LOUDNESS: Final = 0.08


def hold_music() -> bytes:
    """Four seconds that can be repeated without a click: a WAV file, PCM16 at 8 kHz."""
    t = np.arange(round(_CHORD_S * RATE)) / RATE
    swell = np.sin(np.pi * t / _CHORD_S) ** 2
    chords = [
        swell * np.sum([np.sin(2 * np.pi * hz * t) for hz in chord], axis=0) / len(chord)
        for chord in _CHORDS
    ]
    sound = np.concatenate(chords) * _LOUDNESS * 32767
    return wav_bytes(sound.astype("<i2").tobytes(), sample_rate=RATE)
