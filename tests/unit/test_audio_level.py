"""How loud a stretch of audio is: the same for the same sound in any format."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from getpatter.audio.convert import converter
from getpatter.audio.level import loud_share
from getpatter.testing.providers import buzz
from getpatter.types import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_16K, AudioFormat

FORMATS = [MULAW_8K, ALAW_8K, PCM16_8K, PCM16_16K]


@pytest.mark.parametrize("audio_format", FORMATS, ids=str)
def test_silence_is_quiet_and_a_voice_is_loud(audio_format: AudioFormat) -> None:
    assert loud_share(audio_format.silence * 160, audio_format) == 0
    change = converter(MULAW_8K, audio_format)
    assert loud_share(change.convert(buzz(200)) + change.flush(), audio_format) > 0.9
    assert loud_share(b"", audio_format) == 0


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=80))
def test_samples_well_above_and_well_below_the_line_are_told_apart(samples: list[int]) -> None:
    share = loud_share(struct.pack(f"<{len(samples)}h", *samples), PCM16_8K)
    assert sum(abs(each) > 800 for each in samples) <= round(share * len(samples))
    assert round(share * len(samples)) <= sum(abs(each) >= 300 for each in samples)


@pytest.mark.parametrize("audio_format", [MULAW_8K, ALAW_8K], ids=str)
@given(samples=st.lists(st.integers(-32768, 32767), min_size=1, max_size=80))
def test_both_laws_draw_about_the_same_line(samples: list[int], audio_format: AudioFormat) -> None:
    coded = converter(PCM16_8K, audio_format).convert(struct.pack(f"<{len(samples)}h", *samples))
    loud = round(loud_share(coded, audio_format) * len(samples))
    assert sum(abs(each) > 800 for each in samples) <= loud
    assert loud <= sum(abs(each) >= 300 for each in samples)
