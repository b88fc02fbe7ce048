"""The embedded voice without its process: what it refuses, and how text is cut."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("espeakng_loader")

from getpatter.tts import _local_worker as wire
from getpatter.tts.local import TTS, LocalTTS, _pieces
from getpatter.types import MULAW_8K, PCM16_8K, PCM16_16K


def test_the_module_name_is_the_class() -> None:
    assert TTS is LocalTTS


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"rate": 20}, "rate is 80 to 450"),
        ({"pitch": 100}, "pitch is 0 to 99"),
        ({"volume": -1}, "volume is 0 to 200"),
        ({"voice": "xx-yy"}, "no voice 'xx-yy'"),
        ({"voice": "en-uk"}, "no voice 'en-uk': use .*en-us"),
        ({"voice": "en-us+nobody"}, "no variant 'nobody'"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        LocalTTS(**wrong)  # type: ignore[arg-type]


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises((ImportError, ValueError), match=r"getpatter\[offline\]|__spec__"):
        LocalTTS()


def test_formats_of_the_carriers() -> None:
    assert LocalTTS().output_format == PCM16_16K
    assert LocalTTS.for_twilio().output_format == MULAW_8K
    assert LocalTTS.for_telnyx().output_format == PCM16_16K


def test_a_clone_sounds_the_same() -> None:
    tts = LocalTTS(voice="en-us+f2", rate=140, output_format=MULAW_8K)
    twin = tts.clone()
    assert twin is not tts
    assert (twin.voice_key, twin.output_format) == (tts.voice_key, MULAW_8K)
    other = tts.with_output([PCM16_8K, MULAW_8K])
    assert other is not None
    assert other.output_format == PCM16_8K
    assert tts.with_output([]) is None
    assert LocalTTS(voice="en-us+f3", rate=140).voice_key != tts.voice_key


def test_sentences_are_said_one_by_one() -> None:
    assert list(_pieces('Hello there. "How are you?" Fine; thanks\n- good')) == [
        "Hello there.",
        '"How are you?"',
        "Fine;",
        "thanks",
        "- good",
    ]


def test_what_cannot_be_spoken_is_not_asked_for() -> None:
    assert list(_pieces("... !? \n --- ")) == []


@given(st.text(alphabet="ab ,.!?\n\u4e2d\"'", max_size=2000))
def test_no_letter_is_lost_and_no_piece_is_long(text: str) -> None:
    pieces = list(_pieces(text))
    letters = [char for char in text if char.isalnum()]
    assert [char for piece in pieces for char in piece if char.isalnum()] == letters
    assert max(map(len, pieces), default=0) <= 240


@given(st.binary(max_size=50), st.integers(0, 2**32 - 1), st.integers(0, 60))
def test_a_frame_is_read_as_it_was_written_or_not_at_all(
    payload: bytes, job: int, cut: int
) -> None:
    pipe = io.BytesIO()
    wire.send(pipe, wire.AUDIO, job, payload)
    whole = pipe.getvalue()
    assert wire.receive(io.BytesIO(whole)) == (wire.AUDIO, job, payload)
    if cut < len(whole):
        assert wire.receive(io.BytesIO(whole[:cut])) is None
