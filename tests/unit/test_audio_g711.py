"""G.711, code by code."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from getpatter.audio.g711 import (
    alaw_to_mulaw,
    alaw_to_pcm16,
    mulaw_to_alaw,
    mulaw_to_pcm16,
    pcm16_to_alaw,
    pcm16_to_mulaw,
)

ALL_CODES = bytes(range(256))
ALL_SAMPLES = np.arange(-32768, 32768).astype("<i2").tobytes()


def samples(pcm: bytes) -> list[int]:
    return [int(value) for value in np.frombuffer(pcm, "<i2")]


def test_mulaw_values_are_those_of_the_standard() -> None:
    # G.711, table 2: decoder output values at the ends of the segments, times 4 for 16 bit.
    assert samples(
        mulaw_to_pcm16(bytes([0x80, 0x8F, 0x9F, 0xAF, 0xBF, 0xCF, 0xDF, 0xEF, 0xFF]))
    ) == [4 * value for value in (8031, 4191, 2079, 1023, 495, 231, 99, 33, 0)]
    assert samples(mulaw_to_pcm16(bytes([0x00, 0x7F]))) == [-32124, 0]


def test_alaw_values_are_those_of_the_standard() -> None:
    # G.711, table 1, times 8 for 16 bit: the loudest, and the quietest of each sign.
    assert samples(alaw_to_pcm16(bytes([0xAA, 0x2A, 0xD5, 0x55]))) == [32256, -32256, 8, -8]


@pytest.mark.parametrize(
    ("decode", "encode"),
    [(mulaw_to_pcm16, pcm16_to_mulaw), (alaw_to_pcm16, pcm16_to_alaw)],
)
def test_every_code_survives_the_round_trip(
    decode: Callable[[bytes], bytes], encode: Callable[[bytes], bytes]
) -> None:
    again = encode(decode(ALL_CODES))
    different = [code for code in ALL_CODES if again[code] != code]
    # Mu-law has two zeros, and the negative one comes back as the positive.
    assert different == ([0x7F] if decode is mulaw_to_pcm16 else [])


@pytest.mark.parametrize(
    ("decode", "encode"),
    [(mulaw_to_pcm16, pcm16_to_mulaw), (alaw_to_pcm16, pcm16_to_alaw)],
)
def test_coding_never_reverses_the_order_of_two_samples(
    decode: Callable[[bytes], bytes], encode: Callable[[bytes], bytes]
) -> None:
    heard = np.frombuffer(decode(encode(ALL_SAMPLES)), "<i2").astype(int)
    assert (np.diff(heard) >= 0).all()
    said = np.arange(-32768, 32768)
    # Half a step is 1/32 of the sample, and 8 near silence; mu-law's bias and shift add 3.
    assert (np.abs(heard - said) <= np.abs(said) / 31 + 11).all()


def test_one_law_to_the_other_goes_to_the_nearest_value() -> None:
    assert mulaw_to_alaw(ALL_CODES) == pcm16_to_alaw(mulaw_to_pcm16(ALL_CODES))
    assert alaw_to_mulaw(ALL_CODES) == pcm16_to_mulaw(alaw_to_pcm16(ALL_CODES))
    assert mulaw_to_alaw(b"\xff") == b"\xd5"


def test_silence_stays_silent() -> None:
    assert pcm16_to_mulaw(bytes(4)) == b"\xff\xff"
    assert pcm16_to_alaw(bytes(4)) == b"\xd5\xd5"


def test_half_a_sample_is_left_out() -> None:
    assert pcm16_to_mulaw(b"\x00\x00\x01") == b"\xff"
    assert mulaw_to_pcm16(b"") == pcm16_to_alaw(b"") == b""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="audioop left the standard library in 3.13")
def test_every_code_and_every_sample_is_as_the_former_standard_module_had_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = importlib.import_module("audioop")
    assert mulaw_to_pcm16(ALL_CODES) == audioop.ulaw2lin(ALL_CODES, 2)
    assert alaw_to_pcm16(ALL_CODES) == audioop.alaw2lin(ALL_CODES, 2)
    assert pcm16_to_mulaw(ALL_SAMPLES) == audioop.lin2ulaw(ALL_SAMPLES, 2)
    assert pcm16_to_alaw(ALL_SAMPLES) == audioop.lin2alaw(ALL_SAMPLES, 2)
