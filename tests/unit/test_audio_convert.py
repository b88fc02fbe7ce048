"""Conversions between formats, and which one is chosen."""

from __future__ import annotations

import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from getpatter.audio import g711
from getpatter.audio.convert import cheapest, converter, cost
from getpatter.types import (
    ALAW_8K,
    MULAW_8K,
    PCM16_8K,
    PCM16_16K,
    PCM16_24K,
    AudioFormat,
    Encoding,
)

FORMATS = [MULAW_8K, ALAW_8K, PCM16_8K, PCM16_16K, PCM16_24K, AudioFormat(Encoding.MULAW, 16000)]


def tone(format_: AudioFormat, hertz: float = 440.0, lasts_ms: int = 200) -> bytes:
    at = np.arange(format_.sample_rate * lasts_ms // 1000) / format_.sample_rate
    pcm = (12000 * np.sin(2 * np.pi * hertz * at)).astype("<i2").tobytes()
    return converter(AudioFormat(Encoding.PCM16, format_.sample_rate), format_).convert(pcm)


@pytest.mark.parametrize("format_", FORMATS)
def test_equal_formats_return_the_very_same_bytes(format_: AudioFormat) -> None:
    same = converter(format_, format_)
    data = b"\x01\x02\x03"
    assert same.convert(data) is data
    assert same.flush() == b""


@pytest.mark.parametrize(("src", "dst"), list(product(FORMATS, FORMATS)))
def test_a_tone_is_the_same_tone_in_every_other_format(src: AudioFormat, dst: AudioFormat) -> None:
    one = converter(src, dst)
    data = one.convert(tone(src)) + one.flush()
    assert dst.ms(len(data)) == pytest.approx(200, abs=3)
    back = converter(dst, AudioFormat(Encoding.PCM16, dst.sample_rate))
    sound = np.frombuffer(back.convert(data), "<i2").astype(float)
    steady = sound[sound.size // 4 : -sound.size // 4]
    at = 2 * np.pi * 440 * np.arange(steady.size) / dst.sample_rate
    basis = np.stack((np.cos(at), np.sin(at)), axis=1)
    weights, *_ = np.linalg.lstsq(basis, steady, rcond=None)
    rest = steady - basis @ weights
    assert np.hypot(*weights) == pytest.approx(12000, rel=0.02)
    # Twice through eight bits is about 33 dB clean; without them, more than 60.
    is_g711 = Encoding.PCM16 not in (src.encoding, dst.encoding)
    clean = 1e3 if Encoding.PCM16 is src.encoding is dst.encoding else 50 if not is_g711 else 35
    assert np.hypot(*weights) / np.sqrt(2 * np.mean(rest**2)) > clean


def test_one_law_to_the_other_touches_no_sample() -> None:
    data = bytes(range(256))
    assert converter(MULAW_8K, ALAW_8K).convert(data) == g711.mulaw_to_alaw(data)
    assert converter(ALAW_8K, MULAW_8K).convert(data) == g711.alaw_to_mulaw(data)


def test_half_a_sample_waits_for_the_other_half() -> None:
    coder = converter(PCM16_8K, MULAW_8K)
    assert coder.convert(b"\x00") == b""
    assert coder.convert(b"\x00\x00") == b"\xff"
    assert coder.flush() == b""
    assert coder.convert(b"\x00\x00") == b"\xff"


def test_too_loud_saturates() -> None:
    loud = np.repeat(np.tile([32767, -32768], 40), 12).astype("<i2").tobytes()
    codes = converter(PCM16_16K, MULAW_8K).convert(loud)
    assert {0x80, 0x00} <= set(codes)


def test_costs_put_doing_nothing_first_and_resampling_last() -> None:
    nothing = cost(MULAW_8K, MULAW_8K)
    translating = cost(MULAW_8K, ALAW_8K)
    coding = cost(MULAW_8K, PCM16_8K)
    resampling = cost(PCM16_8K, PCM16_16K)
    both = cost(MULAW_8K, PCM16_16K)
    losing = cost(PCM16_24K, PCM16_8K)
    assert 0 == nothing < translating < coding < resampling < both < losing


@pytest.mark.parametrize(
    ("from_formats", "to_formats", "chosen"),
    [
        # A phone's bytes go to a recogniser that takes them, untouched.
        ([MULAW_8K], [PCM16_16K, MULAW_8K], (MULAW_8K, MULAW_8K)),
        # A voice that can speak the carrier's format does.
        ([PCM16_24K, MULAW_8K], [MULAW_8K], (MULAW_8K, MULAW_8K)),
        # No sound is thrown away to save a microsecond.
        ([PCM16_24K], [MULAW_8K, PCM16_16K], (PCM16_24K, PCM16_16K)),
        # Of two free roads, the one with more sound.
        ([MULAW_8K, PCM16_16K], [PCM16_16K, MULAW_8K], (PCM16_16K, PCM16_16K)),
        # Decoding is cheaper than resampling.
        ([MULAW_8K], [PCM16_16K, PCM16_8K], (MULAW_8K, PCM16_8K)),
        # Equal in all: what was named first.
        ([ALAW_8K, MULAW_8K], [MULAW_8K, ALAW_8K], (ALAW_8K, ALAW_8K)),
    ],
)
def test_the_cheapest_pair(
    from_formats: list[AudioFormat],
    to_formats: list[AudioFormat],
    chosen: tuple[AudioFormat, AudioFormat],
) -> None:
    assert cheapest(from_formats, to_formats) == chosen


def test_both_ends_must_offer_something() -> None:
    with pytest.raises(ValueError, match="at least one"):
        cheapest([], [MULAW_8K])


def test_an_impossible_rate_is_refused_when_the_converter_is_made() -> None:
    with pytest.raises(ValueError, match="sample rate"):
        converter(AudioFormat(Encoding.PCM16, 0), MULAW_8K)


def test_asking_what_is_cheapest_loads_no_numeric_library() -> None:
    code = (
        "import sys\n"
        "from getpatter.audio import cheapest, converter, cost\n"
        "from getpatter.types import MULAW_8K\n"
        "cheapest([MULAW_8K], [MULAW_8K]); converter(MULAW_8K, MULAW_8K)\n"
        "sys.exit('numpy' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


def test_public_helpers_are_importable_from_the_package() -> None:
    import getpatter.audio  # noqa: PLC0415

    for name in getpatter.audio.__all__:
        assert callable(getattr(getpatter.audio, name))
    assert dir(getpatter.audio) == sorted(getpatter.audio.__all__)
    with pytest.raises(AttributeError, match="louder"):
        _ = getpatter.audio.louder
