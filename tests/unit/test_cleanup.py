"""What is done to the caller's sound, measured: tones, levels, echoes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from getpatter.agent import build_agent
from getpatter.audio.cleanup import EchoCanceller, Gain, HighPass, Played
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS

RATE = 8000


def tone(hz: float, lasts_s: float = 1.0, rate: int = RATE) -> Any:
    return (8000 * np.sin(2 * np.pi * hz * np.arange(round(rate * lasts_s)) / rate)).astype(
        np.float32
    )


def speech(lasts_s: float, level_dbfs: float, seed: int = 1, rate: int = RATE) -> Any:
    """Something like it: coloured noise in syllables, at this level where it sounds; and a quiet line."""
    dice = np.random.RandomState(seed)
    n = round(lasts_s * rate)
    t = np.arange(n) / rate
    sound = np.convolve(dice.standard_normal(n), np.ones(4) / 4, "same")
    sound *= np.clip(np.sin(2 * np.pi * 3 * t), 0, 1) * (np.sin(2 * np.pi * 0.3 * t + seed) > -0.6)
    loud = np.abs(sound) > 0.05
    sound *= 32768 * 10 ** (level_dbfs / 20) / np.sqrt(np.mean(sound[loud] ** 2))
    return (sound + 8 * dice.standard_normal(n)).astype(np.float32)


def db(ratio: float) -> float:
    return float(10 * np.log10(ratio + 1e-12))


def power(sound: Any) -> float:
    return float(np.mean(np.asarray(sound, np.float64) ** 2))


def in_frames(stage: Any, sound: Any, size: int = 160) -> Any:
    return np.concatenate([stage.process(sound[i : i + size]) for i in range(0, sound.size, size)])


# --------------------------------------------------------------------------------------- high_pass_hz


@pytest.mark.parametrize(
    ("hz", "least", "most"),
    [(50, -60, -28), (120, -3.2, -2.8), (300, -0.1, 0.1), (1000, -0.1, 0.1)],
)
@pytest.mark.parametrize("rate", [8000, 16000])
def test_what_is_below_the_corner_is_taken_out(
    hz: float, least: float, most: float, rate: int
) -> None:
    heard = in_frames(HighPass(120, rate), tone(hz, rate=rate))
    half = heard.size // 2
    assert least < db(power(heard[half:]) / power(tone(hz, rate=rate)[half:])) < most


def test_a_constant_offset_is_gone_and_nothing_is_late() -> None:
    sound = np.full(RATE, 1000, np.float32)
    assert np.abs(in_frames(HighPass(100, RATE), sound)[-100:]).max() < 0.1
    click = np.zeros(160, np.float32)
    click[0] = 1000
    assert np.abs(HighPass(100, RATE).process(click)).argmax() == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=12))
def test_how_the_sound_is_cut_changes_nothing(sizes: list[int]) -> None:
    sound = speech(0.5, -20)
    whole = HighPass(150, RATE).process(sound)
    gain_whole = Gain(RATE).process(sound)
    high_pass, gain = HighPass(150, RATE), Gain(RATE)
    edges = [*np.minimum(np.cumsum(sizes), sound.size), sound.size]
    begin, filtered, levelled = 0, [], []
    for end in edges:
        filtered.append(high_pass.process(sound[begin:end]))
        levelled.append(gain.process(sound[begin:end]))
        begin = end
    assert np.allclose(np.concatenate(filtered), whole, atol=0.5)
    assert np.allclose(np.concatenate(levelled), gain_whole, rtol=1e-3, atol=0.5)


def test_a_corner_above_the_sound_is_a_mistake() -> None:
    parts: dict[str, Any] = {
        "stt": ScriptedSTT([]),
        "tts": ScriptedTTS(),
        "llm": ScriptedLLM(["x"]),
    }
    with pytest.raises(ValueError, match="high_pass_hz is 4000"):
        build_agent("x", None, high_pass_hz=4000, **parts)
    with pytest.raises(ValueError, match="below 4000"):
        HighPass(4000, RATE)


# ------------------------------------------------------------------------------------------------ agc


@pytest.mark.parametrize(
    ("level", "wanted"), [(-36, -20), (-28, -20), (-20, -20), (-6, -20), (-50, -32)]
)
def test_speech_of_any_level_comes_out_at_one(level: float, wanted: float) -> None:
    sound = speech(10, level)
    heard = in_frames(Gain(RATE), sound)[3 * RATE :]
    loud = np.abs(speech(10, level))[3 * RATE :] > 32768 * 10 ** (level / 20) * 0.2
    assert db(power(heard[loud]) / 32768**2) == pytest.approx(wanted, abs=3.0)


def test_line_noise_in_a_long_pause_is_not_lifted() -> None:
    gain = Gain(RATE)
    in_frames(gain, speech(5, -34))
    before = gain.gain_db
    assert before > 8
    hiss = np.random.RandomState(3).standard_normal(20 * RATE).astype(np.float32) * 8
    in_frames(gain, hiss)
    assert gain.gain_db == pytest.approx(before, abs=0.5)


def test_a_shout_is_brought_down_at_once_and_a_whisper_up_in_time() -> None:
    gain = Gain(RATE)
    in_frames(gain, speech(4, -34))
    assert gain.gain_db > 8
    in_frames(gain, tone(400, 0.1) * 4 / 1.0)
    assert gain.gain_db < -10
    in_frames(gain, tone(400, 2.0) / 16)
    assert gain.gain_db > 8


# -------------------------------------------------------------------------------------- echo_cancellation


def echo_of(ours: Any, *, delay_s: float, loss_db: float = 12.0, rate: int = RATE) -> Any:
    """`ours` as it comes back: late, quieter, and with the room in it."""
    dice = np.random.RandomState(5)
    path = np.zeros(round((delay_s + 0.05) * rate))
    at = round(delay_s * rate)
    room = dice.standard_normal(path.size - at) * np.exp(-np.arange(path.size - at) / (0.01 * rate))
    path[at:] = room / np.sqrt(np.sum(room**2)) * 10 ** (-loss_db / 20)
    return np.convolve(ours, path)[: ours.size].astype(np.float32)


def cancelled(canceller: EchoCanceller, near: Any, ours: Any) -> Any:
    heard = [
        canceller.process(near[i : i + 160], ours[i : i + 160]) for i in range(0, near.size, 160)
    ]
    return np.concatenate(heard)


LATE = 128
"""Samples by which the output is behind at 8 kHz: 16 ms."""


@pytest.mark.parametrize("delay_s", [0.03, 0.2, 0.4])
def test_our_own_voice_is_taken_out_of_what_comes_back(delay_s: float) -> None:
    ours = speech(12, -18, seed=2)
    near = echo_of(ours, delay_s=delay_s) + 8 * np.random.RandomState(9).standard_normal(
        ours.size
    ).astype(np.float32)
    heard = cancelled(EchoCanceller(RATE), near, ours)
    late = slice(6 * RATE, 11 * RATE)
    loss_db = db(power(near[late]) / power(heard[late.start + LATE : late.stop + LATE]))
    assert loss_db > 15


def test_the_caller_is_heard_while_both_speak_and_the_echo_stays_away() -> None:
    ours, theirs = speech(12, -18, seed=2), speech(12, -20, seed=7)
    theirs[: 6 * RATE] = theirs[9 * RATE :] = 0
    echo = echo_of(ours, delay_s=0.15)
    heard = cancelled(EchoCanceller(RATE), echo + theirs, ours)
    both = slice(6 * RATE, 9 * RATE)
    after = slice(both.start + LATE, both.stop + LATE)
    assert db(power(heard[after] - theirs[both]) / power(theirs[both])) < -8
    last = slice(10 * RATE, 11 * RATE)
    assert db(power(echo[last]) / power(heard[last.start + LATE : last.stop + LATE])) > 10


def test_a_caller_without_an_echo_is_left_as_they_are() -> None:
    ours, theirs = speech(4, -18, seed=2), speech(4, -20, seed=7)
    heard = cancelled(EchoCanceller(RATE), theirs, ours)
    assert db(power(heard[LATE:] - theirs[:-LATE]) / power(theirs)) < -12
    silence = np.zeros_like(theirs)
    assert np.array_equal(cancelled(EchoCanceller(RATE), theirs, silence)[LATE:], theirs[:-LATE])


def test_what_we_played_stands_on_the_callers_time() -> None:
    played = Played(RATE, 10.0)
    played.add(np.full(800, 1.0, np.float32), 10.1)  # heard from 0.1 to 0.2 s
    played.add(np.full(800, 2.0, np.float32), 10.1)  # and until 0.3 s
    heard = [played.heard_with(160, 10.0 + 0.02 * k) for k in range(1, 20)]
    line = np.concatenate(heard)
    assert not line[:800].any()
    assert (line[800:1600] == 1).all()
    assert (line[1600:2400] == 2).all()
    assert not line[2400:].any()


def test_what_was_cleared_was_not_played() -> None:
    played = Played(RATE, 0.0)
    played.add(np.full(8000, 1.0, np.float32), 0.0)
    first = played.heard_with(160, 0.02)
    played.clear(0.05)
    rest = np.concatenate([played.heard_with(160, 0.02 * k) for k in range(2, 8)])
    assert first.all()
    assert rest[:240].all()
    assert not rest[240:].any()


def test_frames_that_were_lost_move_the_callers_time_on() -> None:
    played = Played(RATE, 0.0)
    played.heard_with(160, 0.02)
    played.add(np.full(800, 3.0, np.float32), 1.0)
    assert played.heard_with(160, 1.02).all()
