"""The built-in background sounds: computed here, from noise and sines, so that no recording has to be licensed.

Each is a loop without a seam, because everything in it goes round: noise is shaped in the frequency domain, whose
inverse is periodic, and what happens near the end rings on at the beginning. The same numbers come out on every
machine: numpy keeps the stream of a `RandomState` as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from getpatter.audio.pcm import Float32, Float64

RATE: Final = 16000
LASTS_S: Final = 12.0
_N: Final = round(RATE * LASTS_S)
_LEVEL: Final = 10 ** (-16 / 20) * 32767
"""Loudness (RMS) of a steady sound before its volume: as loud as a voice on the phone."""
_PEAK: Final = 0.9 * 32767
_PEAK_CLICKS: Final = 0.9 * 32767
Dice = np.random.RandomState


def clip(name: str) -> Float32:
    """Samples at `RATE`, on the scale of 16 bit.

    Raises:
        KeyError: there is no clip of that name.
    """
    return _CLIPS[name]()


def clip_names() -> tuple[str, ...]:
    """The clips there are."""
    return tuple(_CLIPS)


# ------------------------------------------------------------------------------------------- material


def _noise(dice: Dice, low: float, high: float, slope_db: float = 0.0) -> Float64:
    """Noise between two frequencies that falls by `slope_db` an octave; RMS 1, and periodic."""
    hz = np.fft.rfftfreq(_N, 1 / RATE)
    shape = np.zeros(hz.size)
    inside = (hz >= low) & (hz <= high)
    shape[inside] = (hz[inside] / low) ** (-slope_db / 6.02)
    spectrum = shape * (dice.standard_normal(hz.size) + 1j * dice.standard_normal(hz.size))
    sound = np.fft.irfft(spectrum, _N)
    return np.asarray(sound / np.sqrt(np.mean(sound**2)))


def _swell(dice: Dice, per_second: float, depth: float) -> Float64:
    """A slow rise and fall around 1, periodic."""
    slow = _noise(dice, 1 / LASTS_S, max(per_second, 2 / LASTS_S))
    return np.asarray(np.exp(depth * slow))


def _put(line: Float64, sound: Float64, at: float) -> None:
    """Add `sound` at `at` seconds; what goes over the end rings on at the beginning."""
    where = (round(at * RATE) + np.arange(sound.size)) % _N
    line[where] += sound


def _steady(sound: Float64) -> Float32:
    level = sound * (_LEVEL / np.sqrt(np.mean(sound**2)))
    return np.asarray(_PEAK * np.tanh(level / _PEAK), np.float32)


def _struck(sound: Float64) -> Float32:
    return np.asarray(sound * (_PEAK_CLICKS / np.abs(sound).max()), np.float32)


# ---------------------------------------------------------------------------------------------- clips


def _city() -> Float32:
    dice = Dice(11)
    tyres = _noise(dice, 120, 2200, 3.0)
    street = _noise(dice, 40, 900, 4.0) * _swell(dice, 0.3, 0.25)
    far = 0.35 * _noise(dice, 300, 3000, 3.0)
    for _ in range(4):
        lasts = dice.uniform(3.0, 6.0)
        t = np.arange(round(lasts * RATE)) / RATE
        passing = np.exp(-(((t - lasts / 2) / (lasts / 5)) ** 2))
        heard = np.take(tyres, np.arange(t.size) + dice.randint(_N), mode="wrap")
        _put(street, dice.uniform(0.5, 1.3) * passing * heard, dice.uniform(0, LASTS_S))
    return _steady(street + far)


def _forest() -> Float32:
    dice = Dice(12)
    line = _noise(dice, 150, 4000, 4.5) * _swell(dice, 0.4, 0.35)
    for _ in range(9):
        at, hz, loud = dice.uniform(0, LASTS_S), dice.uniform(2100, 3300), dice.uniform(0.6, 1.6)
        for note in range(dice.randint(2, 7)):
            lasts = dice.uniform(0.05, 0.12)
            t = np.arange(round(lasts * RATE)) / RATE
            bend = hz * (1 + 0.12 * np.sin(2 * np.pi * t / lasts + dice.uniform(0, 6)))
            song = np.sin(2 * np.pi * np.cumsum(bend) / RATE) * np.sin(np.pi * t / lasts) ** 2
            _put(line, loud * song, at + note * dice.uniform(0.13, 0.16))
    return _steady(line)


def _office() -> Float32:
    dice = Dice(13)
    line = _noise(dice, 60, 1200, 5.0)
    line += 0.4 * _voices(dice, 3, hush=900.0)
    line += 0.5 * _keys(dice, per_second=3.0, bright=2600.0, busy=0.35)
    return _steady(line)


def _crowd() -> Float32:
    dice = Dice(14)
    return _steady(_voices(dice, 7, hush=2800.0) + 0.15 * _noise(dice, 80, 2500, 3.0))


def _voices(dice: Dice, how_many: int, *, hush: float) -> Float64:
    """People talking, none of whom can be understood: gliding harmonics in syllables. RMS 1."""
    t = np.arange(_N) / RATE
    line = np.zeros(_N)
    for _ in range(how_many):
        pitch = dice.uniform(95, 230) * _swell(dice, 1.5, 0.08)
        phase = 2 * np.pi * np.cumsum(pitch) / RATE
        phase += (
            t * 2 * np.pi * (round(phase[-1] / (2 * np.pi)) - phase[-1] / (2 * np.pi)) / LASTS_S
        )
        vowel = 500 * _swell(dice, 3.0, 0.35)
        voice = np.zeros(_N)
        for k in range(1, 10):
            hz = k * pitch
            tone = np.exp(-(((hz - vowel) / 350) ** 2)) + 0.4 * np.exp(
                -(((hz - 3 * vowel) / 500) ** 2)
            )
            voice += (hz < hush) * tone * np.sin(k * phase)
        syllables = np.clip(_noise(dice, 0.5, 5.0), 0, None)
        talks = np.clip(_noise(dice, 1 / LASTS_S, 0.25) + 0.6, 0, 1)
        line += dice.uniform(0.5, 1.0) * voice * syllables * talks
    return np.asarray(line / np.sqrt(np.mean(line**2)))


def _keys(dice: Dice, *, per_second: float, bright: float, busy: float) -> Float64:
    """Strokes on a keyboard, in words with pauses between them; the loudest is about 1."""
    line = np.zeros(_N)
    at = 0.0
    while at < LASTS_S - 0.2:
        for _ in range(dice.randint(3, 12)):
            t = np.arange(round(0.05 * RATE)) / RATE
            click = dice.standard_normal(t.size) * np.exp(-t / 0.004)
            click += (
                0.6 * np.sin(2 * np.pi * bright * dice.uniform(0.8, 1.2) * t) * np.exp(-t / 0.006)
            )
            thud = np.sin(2 * np.pi * dice.uniform(140, 220) * t) * np.exp(-t / 0.015)
            _put(line, dice.uniform(0.4, 1.0) * (0.4 * click + 0.5 * thud), at)
            at += dice.gamma(6.0, 1 / (6.0 * per_second))
        at += dice.exponential(0.8 / busy - 0.8 + 0.25)
    return line


def _typing() -> Float32:
    return _struck(_keys(Dice(15), per_second=8.0, bright=3200.0, busy=0.8))


def _typing_slowly() -> Float32:
    return _struck(_keys(Dice(16), per_second=4.5, bright=1900.0, busy=0.6))


_BARS: Final = (
    (261.63, 329.63, 392.00, 493.88),
    (220.00, 261.63, 329.63, 392.00),
    (174.61, 220.00, 261.63, 329.63),
    (196.00, 246.94, 293.66, 349.23),
)
"""Major seventh on C, minor seventh on A, major seventh on F, seventh on G."""


def _music() -> Float32:
    line = np.zeros(_N)
    bar = LASTS_S / 4
    for number in range(4):
        chord = _BARS[number]
        for step in range(8):
            hz = chord[(0, 2, 1, 3, 2, 3, 1, 2)[step]] * (2 if step in {3, 5} else 1)
            t = np.arange(round(1.6 * RATE)) / RATE
            note = sum(np.sin(2 * np.pi * k * hz * t) / k**2 for k in (1, 2, 3))
            _put(
                line,
                note * np.exp(-t / 0.45) * np.minimum(t / 0.01, 1),
                number * bar + step * bar / 8,
            )
        t = np.arange(round(bar * RATE)) / RATE
        pad = sum(np.sin(2 * np.pi * hz * t) for hz in chord)
        _put(line, 0.12 * np.asarray(pad) * np.sin(np.pi * t / bar) ** 2, number * bar)
    return _steady(line)


_CLIPS: Final[Mapping[str, Callable[[], Float32]]] = {
    "city_ambience": _city,
    "forest_ambience": _forest,
    "office_ambience": _office,
    "crowded_room": _crowd,
    "keyboard_typing": _typing,
    "keyboard_typing2": _typing_slowly,
    "hold_music": _music,
}
