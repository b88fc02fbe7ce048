"""Sounds for the voice detector, made of numbers: a buzzing larynx behind three formants, and no-voices.

A detector trained on people takes it for speech (probability above 0.9), which is all that is asked of it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from getpatter.audio.pcm import Float64

RATE: Final = 8000
_FORMANTS: Final = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
_LEVEL: Final = 8000.0


def silence(lasts_ms: float) -> Float64:
    return np.zeros(round(RATE * lasts_ms / 1000))


def noise(lasts_ms: float, level: float = 2000.0, seed: int = 1) -> Float64:
    return np.random.default_rng(seed).normal(0, level, round(RATE * lasts_ms / 1000))


def cough() -> Float64:
    """A fifth of a second of noise, loud at once and dying away."""
    sound = noise(200, _LEVEL, 2)
    at = np.arange(sound.size)
    return sound * np.exp(-at / 400) * np.minimum(1, at / 40)


def vowel(letter: str, lasts_ms: float = 180, pitch: float = 120) -> Float64:
    rng = np.random.default_rng(ord(letter))
    n = round(RATE * lasts_ms / 1000)
    at = np.arange(n)
    falling = pitch * (1.05 - 0.1 * at / n) * (1 + 0.08 * np.sin(2 * np.pi * 3 * at / RATE))
    pulses = np.diff(np.floor(np.cumsum(falling) / RATE), prepend=0.0)
    source = np.convolve(pulses, np.exp(-np.arange(40) / 8))[:n] + rng.normal(0, 0.01, n)
    sound = np.zeros(n)
    for hertz, width, share in zip(_FORMANTS[letter], (80, 100, 140), (1, 0.6, 0.35), strict=True):
        ring = np.exp(-np.pi * width * np.arange(400) / RATE)
        ring = ring * np.sin(2 * np.pi * hertz * (np.arange(400) + 1) / RATE)
        sound += share * np.convolve(source, ring)[:n] / np.sin(2 * np.pi * hertz / RATE)
    sound *= np.minimum(1, np.minimum(at, at[::-1]) / (0.03 * RATE))
    loudest: Float64 = np.abs(sound).max()
    return _LEVEL * sound / loudest


def speech(letters: str, pitch: float = 120) -> Float64:
    """Syllables of 40 ms of hiss and 180 ms of vowel; a space is a pause of 150 ms."""
    pieces = [silence(0)]
    for letter in letters:
        if letter == " ":
            pieces.append(silence(150))
        else:
            pieces += [noise(40, 0.08 * _LEVEL, 3), vowel(letter, pitch=pitch)]
    return np.concatenate(pieces)


def murmur() -> Float64:
    """Mm-hm."""
    return 0.5 * np.concatenate((vowel("u", 300, 130), silence(75), vowel("u", 250, 150)))


def pcm(*sounds: Float64) -> bytes:
    """The sounds one after the other as PCM16, on a line with a little hiss."""
    sound = np.concatenate(sounds)
    line = np.random.default_rng(4).normal(0, 5, sound.size)
    return (sound + line).clip(-32768, 32767).astype("<i2").tobytes()
