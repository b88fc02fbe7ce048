"""Latency: what is measured from where to where, and what stays out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from getpatter.core.ledger import latency_of, metrics_of, percentile, summarise, waterfall_of
from getpatter.core.messages import TurnRecord

TURN = TurnRecord(
    index=3,
    user_text="A table",
    agent_text="Certainly.",
    speech_began=9.0,
    speech_ended=10.0,
    final_at=10.2,
    committed_at=10.3,
    first_text_at=10.6,
    last_text_at=11.0,
    first_voice_at=10.7,
    last_voice_at=11.5,
    first_audio_at=10.75,
    characters=10,
)


def test_the_waterfall_of_a_turn() -> None:
    found = latency_of(TURN)
    assert found.stt_ms == pytest.approx(200)
    assert found.endpoint_ms == pytest.approx(300)
    assert found.llm_ttft_ms == found.llm_ms == pytest.approx(300)
    assert found.llm_total_ms == pytest.approx(700)
    assert found.tts_ms == pytest.approx(100)
    assert found.tts_total_ms == pytest.approx(900)
    assert found.agent_response_ms == pytest.approx(450)
    assert found.total_ms == pytest.approx(750)
    assert found.user_speech_duration_ms == pytest.approx(1000)


def test_what_did_not_happen_is_not_measured() -> None:
    found = latency_of(TurnRecord(0, "", "Hello", final_at=1.0, speech_ended=2.0))
    assert found.stt_ms == 0.0
    assert found.endpoint_ms is None


def test_callbacks_get_wall_clock_times() -> None:
    found = metrics_of(TURN, wall_offset=1000.0)
    assert found.timestamp == pytest.approx(1010.3)
    assert found.turn_index == 3
    assert found.tts_characters == 10
    assert found.stt_audio_seconds == pytest.approx(1.0)
    assert metrics_of(TurnRecord(0, "", ""), wall_offset=7.0).timestamp == 7.0


def test_percentiles_are_interpolated() -> None:
    assert percentile([], 0.5) == 0.0
    assert percentile([4.0], 0.99) == 4.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.5


def test_greeting_and_interrupted_turns_stay_out_of_the_summary() -> None:
    cut = TurnRecord(
        1, "", "", is_interrupted=True, speech_ended=0.0, first_audio_at=9.0, bargein_ms=310.0
    )
    greeting = TurnRecord(0, "", "", is_greeting=True, committed_at=0.0, first_text_at=5.0)
    found = summarise([greeting, cut, TURN])
    assert found.average.total_ms == pytest.approx(750)
    assert found.p99.llm_ttft_ms == pytest.approx(300)
    assert found.average.bargein_ms == 310.0


def test_a_call_without_turns_has_a_summary() -> None:
    assert summarise([]).p95.total_ms == 0.0


# ------------------------------------------------------------------------------------- the waterfall

ANCHORS = ("committed_at", "first_text_at", "first_voice_at", "first_audio_at")
INSTANTS = st.none() | st.floats(0.0, 100.0)


def test_the_parts_of_an_answer_in_their_order() -> None:
    turn = TurnRecord(
        1,
        "a",
        "b",
        speech_ended=10.0,
        committed_at=10.3,
        first_text_at=10.8,
        first_voice_at=11.0,
        first_audio_at=11.01,
    )
    parts = waterfall_of(turn)
    assert list(parts) == ["endpoint_ms", "llm_ms", "tts_ms", "playout_ms"]
    assert list(parts.values()) == pytest.approx([300.0, 500.0, 200.0, 10.0])
    assert metrics_of(turn, wall_offset=0.0).to_dict()["waterfall"] == parts


def test_an_engine_makes_text_and_sound_in_one() -> None:
    turn = TurnRecord(
        1,
        "a",
        "b",
        is_engine=True,
        speech_ended=10.0,
        committed_at=10.3,
        first_text_at=10.5,
        first_voice_at=11.0,
        first_audio_at=11.2,
    )
    assert list(waterfall_of(turn)) == ["endpoint_ms", "engine_ms", "playout_ms"]
    latency = latency_of(turn)
    assert latency.total_ms == pytest.approx(1200.0)
    assert (latency.stt_ms, latency.llm_ms, latency.tts_ms, latency.llm_ttft_ms) == (0, 0, 0, None)


def test_a_draft_that_was_there_before_its_turn_costs_no_time() -> None:
    turn = TurnRecord(
        1,
        "a",
        "b",
        speech_ended=10.0,
        committed_at=10.5,
        first_text_at=10.2,
        first_voice_at=10.4,
        first_audio_at=10.6,
    )
    assert list(waterfall_of(turn)) == ["endpoint_ms", "playout_ms"]


@pytest.mark.parametrize("missing", ["speech_ended", "first_audio_at"])
def test_nobody_waited_where_nobody_spoke_or_answered(missing: str) -> None:
    times: dict[str, Any] = dict.fromkeys(("speech_ended", *ANCHORS), 10.0) | {missing: None}
    assert not waterfall_of(TurnRecord(1, "a", "b", **times))


@given(INSTANTS, st.tuples(*[INSTANTS] * len(ANCHORS)), st.booleans())
def test_the_parts_add_up_whatever_happened_in_whatever_order(
    ended: float | None, at: tuple[float | None, ...], is_engine: bool
) -> None:
    times: dict[str, Any] = dict(zip(ANCHORS, at, strict=True))
    turn = TurnRecord(1, "a", "b", is_engine=is_engine, speech_ended=ended, **times)
    parts = waterfall_of(turn)
    assert all(ms >= 0 for ms in parts.values())
    assert sum(parts.values()) == pytest.approx(latency_of(turn).total_ms, abs=1e-6)
