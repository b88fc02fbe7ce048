"""However a stream is cut into pieces, the same sound comes out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from getpatter.audio.convert import converter
from getpatter.audio.pcm import PcmCarry
from getpatter.audio.resample import StatefulResampler
from getpatter.types import AudioFormat, Encoding

RATES = [8000, 16000, 22050, 24000, 44100, 48000]
FORMATS = [
    AudioFormat(Encoding.MULAW, 8000),
    AudioFormat(Encoding.ALAW, 8000),
    AudioFormat(Encoding.PCM16, 8000),
    AudioFormat(Encoding.PCM16, 16000),
    AudioFormat(Encoding.PCM16, 24000),
]
SOUND = np.random.default_rng(7).integers(-32768, 32768, 12000).astype("<i2").tobytes()


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` in pieces of these sizes, over and over."""
    pieces, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        pieces.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return pieces


# One piece at least moves on.
sizes = st.lists(st.integers(0, 3000), min_size=1, max_size=12).filter(lambda them: sum(them) > 50)


@settings(deadline=None)
@given(
    sizes=sizes,
    src=st.sampled_from(RATES),
    dst=st.sampled_from(RATES),
    length=st.integers(0, 24000),
)
def test_a_resampled_stream_does_not_show_where_it_was_cut(
    sizes: list[int], src: int, dst: int, length: int
) -> None:
    sound = SOUND[:length]
    once = StatefulResampler(src, dst)
    whole = once.process(sound) + once.flush()
    piecewise = StatefulResampler(src, dst)
    joined = b"".join(map(piecewise.process, cut(sound, sizes))) + piecewise.flush()
    assert len(joined) == len(whole)
    apart = np.frombuffer(joined, "<i2").astype(int) - np.frombuffer(whole, "<i2")
    # A product of another shape adds up in another order: the last bit may differ, a click may not.
    assert np.abs(apart).max(initial=0) <= 1


@settings(deadline=None)
@given(sizes=sizes, src=st.sampled_from(RATES), dst=st.sampled_from(RATES))
def test_every_output_is_sent_as_soon_as_its_input_is_there(
    sizes: list[int], src: int, dst: int
) -> None:
    resampler = StatefulResampler(src, dst)
    n_in = n_out = 0
    for piece in cut(SOUND, sizes):
        n_in += len(piece)
        n_out += len(resampler.process(piece)) // 2
        assert n_out == -(-(n_in // 2) * dst // src)


@settings(deadline=None)
@given(sizes=sizes, src=st.sampled_from(FORMATS), dst=st.sampled_from(FORMATS))
def test_a_converted_stream_does_not_show_where_it_was_cut(
    sizes: list[int], src: AudioFormat, dst: AudioFormat
) -> None:
    once = converter(src, dst)
    whole = once.convert(SOUND) + once.flush()
    piecewise = converter(src, dst)
    joined = b"".join(map(piecewise.convert, cut(SOUND, sizes))) + piecewise.flush()
    assert len(joined) == len(whole)
    if src.sample_rate == dst.sample_rate:
        assert joined == whole
    else:
        to_pcm = converter(dst, AudioFormat(Encoding.PCM16, dst.sample_rate)).convert
        apart = np.frombuffer(to_pcm(joined), "<i2").astype(int) - np.frombuffer(
            to_pcm(whole), "<i2"
        )
        # One bit more or less before the encoder can be one step of the law after it.
        most = 1 if dst.encoding is Encoding.PCM16 else 1024
        assert np.abs(apart).max(initial=0) <= most
        assert np.count_nonzero(apart) <= len(apart) / 50


@given(
    sizes=sizes,
    width=st.integers(1, 8),
    data=st.binary(max_size=400),
)
def test_a_carry_loses_and_invents_nothing(sizes: list[int], width: int, data: bytes) -> None:
    carry = PcmCarry(width)
    pieces = [carry.push(piece) for piece in cut(data, sizes)]
    assert all(len(piece) % width == 0 for piece in pieces)
    assert b"".join(pieces) + carry.pending == data
    assert len(carry.pending) < width


def test_a_carry_returns_whole_chunks_uncopied() -> None:
    carry = PcmCarry()
    chunk = bytes(320)
    assert carry.push(chunk) is chunk
    carry.push(b"\x01")
    carry.reset()
    assert carry.pending == b""
    with pytest.raises(ValueError, match="sample_width"):
        PcmCarry(0)
