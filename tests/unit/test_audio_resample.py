"""Resampling is proved with tones: what goes through, what does not, and when it comes out."""

from __future__ import annotations

import numpy as np
import pytest

from getpatter.audio.pcm import Float64
from getpatter.audio.resample import (
    StatefulResampler,
    resample_8k_to_16k,
    resample_16k_to_8k,
    resample_24k_to_16k,
    resampled,
)

PAIRS = [
    (8000, 16000),
    (8000, 24000),
    (16000, 8000),
    (24000, 8000),
    (24000, 16000),
    (16000, 24000),
    (48000, 8000),
    (44100, 8000),
    (44100, 16000),
    (44100, 24000),
    (22050, 8000),
    (22050, 16000),
    (22050, 24000),
]
FULL = 16000.0
"""Peak of the tones."""


def tone(hertz: float, rate: int, lasts_ms: int = 400) -> bytes:
    at = np.arange(rate * lasts_ms // 1000)
    sound: Float64 = np.rint(FULL * np.sin(2 * np.pi * hertz * at / rate))
    return sound.astype("<i2").tobytes()


def settled(pcm: bytes) -> Float64:
    """The middle of a piece, where the filter is full."""
    sound = np.frombuffer(pcm, "<i2").astype(float)
    return sound[sound.size // 8 : -sound.size // 8]


def decibels(level: float) -> float:
    return float(20 * np.log10(max(level, 1e-9) / FULL))


def split(sound: Float64, hertz: float, rate: int) -> tuple[float, float]:
    """Level of the tone, and of all that is not the tone, in dB of the tone that went in."""
    angle = 2 * np.pi * hertz * np.arange(sound.size) / rate
    basis = np.stack((np.cos(angle), np.sin(angle)), axis=1)
    weights, *_ = np.linalg.lstsq(basis, sound, rcond=None)
    rest = sound - basis @ weights
    return decibels(float(np.hypot(*weights))), decibels(float(np.sqrt(2 * np.mean(rest**2))))


@pytest.mark.parametrize(("src", "dst"), PAIRS)
def test_the_voice_band_passes_at_its_level_and_without_images(src: int, dst: int) -> None:
    nyquist = min(src, dst) / 2
    for share in (0.05, 0.25, 0.5, 0.75, 0.82):
        level, rest = split(
            settled(StatefulResampler(src, dst).process(tone(share * nyquist, src))),
            share * nyquist,
            dst,
        )
        assert abs(level) < 0.1, f"{share * nyquist:.0f} Hz comes out at {level:.2f} dB"
        assert rest < -60, f"{share * nyquist:.0f} Hz brings {rest:.0f} dB of something else"


@pytest.mark.parametrize(("src", "dst"), PAIRS)
def test_tones_up_to_the_edge_bring_no_image_above_the_limit(src: int, dst: int) -> None:
    nyquist = min(src, dst) / 2
    for share in (0.9, 0.95, 0.99):
        _, rest = split(
            settled(StatefulResampler(src, dst).process(tone(share * nyquist, src))),
            share * nyquist,
            dst,
        )
        assert rest < -50


@pytest.mark.parametrize(("src", "dst"), [pair for pair in PAIRS if pair[0] > pair[1]])
def test_what_the_new_rate_cannot_hold_is_gone(src: int, dst: int) -> None:
    for hertz in np.linspace(dst / 2 + 10, src / 2 - 50, 25):
        sound = settled(StatefulResampler(src, dst).process(tone(float(hertz), src, 200)))
        alias = decibels(float(np.sqrt(2 * np.mean(sound**2))))
        assert alias < -50, f"{hertz:.0f} Hz folds back at {alias:.0f} dB"


@pytest.mark.parametrize(("src", "dst"), PAIRS)
def test_the_delay_is_short_and_as_stated(src: int, dst: int) -> None:
    click = np.zeros(src // 5, "<i2")
    click[src // 10] = 32000
    resampler = StatefulResampler(src, dst)
    out = np.abs(np.frombuffer(resampler.process(click.tobytes()), "<i2").astype(float))
    middle = float((out * np.arange(out.size)).sum() / out.sum()) / dst
    late_ms = (middle - (src // 10) / src) * 1000
    assert late_ms == pytest.approx(resampler.delay_ms, abs=0.1)
    assert resampler.delay_ms <= 2.6


@pytest.mark.parametrize(("src", "dst"), PAIRS)
def test_twenty_ms_in_are_twenty_ms_out(src: int, dst: int) -> None:
    resampler = StatefulResampler(src, dst)
    frame = bytes(2 * src // 50)
    assert [len(resampler.process(frame)) for _ in range(5)] == [2 * dst // 50] * 5


@pytest.mark.parametrize(("src", "dst"), PAIRS)
def test_constant_sound_comes_out_constant(src: int, dst: int) -> None:
    steady = np.full(src // 5, 12345, "<i2").tobytes()
    assert set(settled(StatefulResampler(src, dst).process(steady))) == {12345}


def test_too_loud_saturates_and_does_not_wrap() -> None:
    square = np.repeat(np.tile([32767, -32768], 50), 8).astype("<i2")
    out = np.frombuffer(StatefulResampler(8000, 16000).process(square.tobytes()), "<i2")
    assert out.max() == 32767
    assert out.min() == -32768
    # Wrapped, a peak would be followed by its opposite within a sample.
    assert np.abs(np.diff(out.astype(int))).max() < 45000


def test_flush_gives_the_end_of_the_sound_and_a_new_start() -> None:
    resampler = StatefulResampler(8000, 16000)
    end = tone(500, 8000, 20)
    sound = resampler.process(end) + resampler.flush()
    # All the energy that went in comes out: at twice the rate, twice the squares.
    before = float((np.frombuffer(end, "<i2").astype(float) ** 2).sum())
    after = float((np.frombuffer(sound, "<i2").astype(float) ** 2).sum())
    assert after == pytest.approx(2 * before, rel=0.02)
    assert resampler.process(end) == StatefulResampler(8000, 16000).process(end)


def test_a_reset_forgets_the_sound_and_the_odd_byte() -> None:
    resampler = StatefulResampler(24000, 8000)
    resampler.process(tone(500, 24000, 20) + b"\x01")
    resampler.reset()
    assert not any(resampler.process(bytes(960)))


def test_equal_rates_pass_whole_samples_untouched() -> None:
    resampler = StatefulResampler(16000, 16000)
    chunk = bytes(range(100))
    assert resampler.process(chunk) is chunk
    assert resampler.process(b"\x01") == b""
    assert resampler.process(b"\x02") == b"\x01\x02"
    assert resampler.flush() == b""
    assert resampler.delay_ms == 0


@pytest.mark.parametrize(
    ("convert", "src", "dst"),
    [
        (resample_8k_to_16k, 8000, 16000),
        (resample_16k_to_8k, 16000, 8000),
        (resample_24k_to_16k, 24000, 16000),
    ],
)
def test_a_whole_recording_keeps_its_length_and_its_timing(convert, src, dst) -> None:  # type: ignore[no-untyped-def]
    sound = tone(700, src, 300)
    out = np.frombuffer(convert(sound), "<i2").astype(float)
    assert out.size == 300 * dst // 1000
    wanted = np.frombuffer(tone(700, dst, 300), "<i2").astype(float)
    middle = slice(out.size // 4, -out.size // 4)
    # Half a sample of the new rate is the most that it may be off.
    assert np.abs(out - wanted)[middle].max() < FULL * 2 * np.pi * 700 / dst * 0.51


def test_a_recording_at_the_right_rate_already_loses_only_half_a_sample() -> None:
    assert resampled(b"\x01\x02\x03", 8000, 8000) == b"\x01\x02"


@pytest.mark.parametrize("rate", [0, -8000, 3999, 1_000_000])
def test_impossible_rates_are_refused(rate: int) -> None:
    with pytest.raises(ValueError, match="sample rate"):
        StatefulResampler(rate, 8000)
    with pytest.raises(ValueError, match="sample rate"):
        resampled(b"", 8000, rate)
