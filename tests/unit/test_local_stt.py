"""The embedded recogniser without its models' work: what it refuses, and when it opens its ears."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

pytest.importorskip("pocketsphinx")

from getpatter.stt.local import STT, Gate, LocalSTT
from getpatter.types import MULAW_8K, PCM16_8K, PCM16_16K, AudioFormat, Encoding


def frame(dbov: float, number: int = 0) -> bytes:
    """20 ms of noise at that level."""
    noise = np.random.default_rng(number).standard_normal(320) * 32768 * 10 ** (dbov / 20)
    return np.clip(noise, -32768, 32767).astype("<i2").tobytes()


def test_the_module_name_is_the_class() -> None:
    assert STT is LocalSTT


def test_free_speech_is_refused() -> None:
    with pytest.raises(ValueError, match="only the sentences of a grammar"):
        LocalSTT()


def test_an_unknown_word_is_named_with_what_to_do() -> None:
    with pytest.raises(
        ValueError, match=r"dictionary: xylograt, zzyx; .*pronunciations=\{'xylograt'"
    ):
        LocalSTT(grammar=["a xylograt", "zzyx", "yes"])


def test_a_pronunciation_makes_a_word() -> None:
    LocalSTT(grammar=["call Zzyx"], pronunciations={"Zzyx": "Z IH K S"})


def test_a_pronunciation_must_be_arpabet() -> None:
    with pytest.raises(ValueError, match="ARPAbet"):
        LocalSTT(grammar=["zzyx"], pronunciations={"zzyx": "zicks"})


def test_a_sound_that_does_not_exist_is_found_before_the_first_call() -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        LocalSTT(grammar=["zzyx"], pronunciations={"zzyx": "QQ XX"})


def test_jsgf_that_is_wrong_is_found_before_the_first_call() -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        LocalSTT(grammar="#JSGF V1.0;\ngrammar g;\npublic <a> = (yes | no;")


@pytest.mark.parametrize("wrong", [{"min_confidence": 1.5}, {"endpointing_ms": 10}])
def test_settings_have_limits(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LocalSTT(grammar=["yes"], **wrong)  # type: ignore[arg-type]


def test_an_unknown_keyword_is_refused() -> None:
    with pytest.raises(TypeError):
        LocalSTT(grammar=["yes"], model="big")  # type: ignore[call-arg]


def test_it_takes_one_format_and_has_twins_for_others() -> None:
    stt = LocalSTT(grammar=["yes"])
    assert stt.input_formats == (PCM16_16K,)
    assert stt.clone().input_formats == (PCM16_16K,)
    twin = stt.with_input([MULAW_8K, PCM16_16K])
    assert twin is not None
    assert twin.input_formats == (MULAW_8K,)
    assert stt.with_input([AudioFormat(Encoding.PCM16, 4000)]) is None


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(ImportError, match=r"pip install 'getpatter\[offline\]'"):
        LocalSTT(grammar=["yes"])


async def test_audio_that_nobody_reads_does_not_pile_up() -> None:
    stt = LocalSTT(grammar=["yes"], input_format=PCM16_8K)
    for _ in range(11 * 50):
        await stt.send_audio(bytes(320))
    assert math.isclose(stt.dropped_ms, 1000)


async def test_a_closed_recogniser_takes_nothing_and_ends_its_results() -> None:
    stt = LocalSTT(grammar=["yes"])
    await stt.close()
    await stt.close()
    await stt.send_audio(bytes(640))
    assert [result async for result in stt.receive_transcripts()] == []


def test_silence_and_a_steady_line_are_no_speech() -> None:
    for level in (-90.0, -70.0, -55.0, -46.0):
        gate = Gate()
        assert not any(gate.is_speech(frame(level, n)) for n in range(100)), level


def test_a_voice_opens_the_gate_within_two_frames_and_its_end_closes_it() -> None:
    gate = Gate()
    for n in range(20):
        gate.is_speech(frame(-50, n))
    assert [gate.is_speech(frame(-25, n)) for n in range(3)] == [False, True, True]
    assert not gate.is_speech(frame(-50))


def test_a_click_does_not_open_the_gate() -> None:
    gate = Gate()
    assert not any(gate.is_speech(frame(-10 if n == 30 else -60, n)) for n in range(60))


def test_a_noise_that_stays_becomes_the_background() -> None:
    gate = Gate()
    for n in range(20):
        gate.is_speech(frame(-60, n))
    assert gate.is_speech(frame(-40)) is False
    assert gate.is_speech(frame(-40)) is True
    heard = [gate.is_speech(frame(-40, n)) for n in range(400)]
    assert not any(heard[300:])
