"""Every event of `phone.events` really happens, in both kinds of call, with what its page promises."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from getpatter.carriers.base import CallCosted
from getpatter.events import PatterEventType
from getpatter.models import TurnMetrics
from getpatter.testing import time as virtual_time
from getpatter.testing.callers import Polite, babble
from getpatter.testing.simulation import Simulation
from tests.support.eventful import (
    CANARY,
    GREETING,
    Told,
    engine_agent,
    eventful_call,
    pipeline_agent,
)

STAGE: Final = "stage provider model turn_index started_at ended_at duration_ms"
CALL: Final = "caller callee direction custom_params telephony_provider"
KEYS: Final = {
    "transcript_partial": "text",
    "transcript_final": "role text history turn_index interrupted",
    "llm_chunk": "text",
    "tts_chunk": "bytes duration_ms",
    "tool_call_started": "name arguments tool_call_id transport",
    "tool_call_completed": "name result error duration_ms tool_call_id transport",
    "turn_started": "turn_index turn",
    "turn_ended": "turn_index turn",
    "metrics_collected": "turn_index turn cost_so_far llm_ttft_ms",
    "eou_metrics": f"{STAGE} silence_ms trigger",
    "stt_metrics": f"{STAGE} text_len confidence",
    "llm_metrics": (
        "stage provider model started_at ended_at duration_ms ttft_ms iteration history_size input_tokens "
        "output_tokens cache_read_tokens cache_write_tokens interrupted error"
    ),
    "tts_metrics": f"{STAGE} text_len ttfb_ms bytes audio_ms interrupted error",
    "interruption": "heard_text bargein_ms unsaid_letters",
    "call_started": CALL,
    "call_ended": f"{CALL} transcript ended_at metrics history conversation_history reason",
    "call_status": "status",
    "recording_ready": "recording_id url duration_seconds channels format",
    "call_cost_updated": "cost telephony estimate",
    "guardrail_triggered": "name",
    "callback_error": "callback error",
    "error": "code stage provider error",
}
"""Besides `call_id` and `timestamp`."""
ELSEWHERE: Final = {"transfer_ended", "handoff"}
"""Needs a third party: `test_other_carriers.py` and the tests of transfers and handoffs."""
AFTER_THE_CALL: Final = {"recording_ready", "call_cost_updated"}
NOT_IN_AN_ENGINE: Final = {"tts_metrics"}
"""A speech-to-speech service has no stage of its own that turns text into sound."""


@cache
def told_of(mode: str) -> Told:
    agent = pipeline_agent() if mode == "pipeline" else engine_agent()[0]
    told, _, _ = virtual_time.run(eventful_call(agent))
    return told


def test_the_table_has_every_event() -> None:
    assert set(KEYS) | ELSEWHERE == set(PatterEventType)


@pytest.mark.parametrize("mode", ["pipeline", "engine"])
@pytest.mark.parametrize("kind", sorted(set(KEYS) - AFTER_THE_CALL))
def test_every_event_happens_with_exactly_its_payload(mode: str, kind: str) -> None:
    told = told_of(mode).of(kind)
    if mode == "engine" and kind in NOT_IN_AN_ENGINE:
        assert not told
        return
    assert told
    for payload in told:
        wanted = {"call_id", "timestamp", *KEYS[kind].split()}
        assert set(payload) - {"turn_index"} == wanted - {"turn_index"}
        assert isinstance(payload["timestamp"], float)


@pytest.mark.parametrize("mode", ["pipeline", "engine"])
def test_stages_happen_as_often_as_they_should(mode: str) -> None:
    told = told_of(mode)
    # The greeting, three spoken turns and a key; one tool asks the model twice.
    assert [each["turn_index"] for each in told.of("turn_started")] == [0, 1, 2, 3, 4]
    assert [each["turn_index"] for each in told.of("turn_ended")] == [0, 1, 2, 3, 4]
    assert len(told.of("eou_metrics")) == 4
    assert [each["text_len"] for each in told.of("stt_metrics")] == [24, 26, 18]
    assert [each["turn_index"] for each in told.of("stt_metrics")] == [1, 2, 3]
    iterations = [each["iteration"] for each in told.of("llm_metrics")]
    assert iterations.count(2) >= 1
    assert [each["trigger"] for each in told.of("eou_metrics")] == [
        "vad_silence",
        "vad_silence",
        "vad_silence",
        "manual_commit",
    ]
    assert [each["name"] for each in told.of("guardrail_triggered")] == ["manners"]
    statuses = [each["status"] for each in told.of("call_status")]
    assert (statuses[0], statuses[-1]) == ("in-progress", "completed")
    assert len(statuses) == len(set(statuses))


@pytest.mark.parametrize("mode", ["pipeline", "engine"])
def test_times_of_stages_fit_into_the_call(mode: str) -> None:
    told = told_of(mode)
    began, ended = told.of("call_started")[0]["timestamp"], told.of("call_ended")[0]["timestamp"]
    for kind in ("stt_metrics", "eou_metrics", "llm_metrics", "tts_metrics"):
        for each in told.of(kind):
            assert began <= each["started_at"] <= each["ended_at"] <= ended
            lasted = (each["ended_at"] - each["started_at"]) * 1000
            assert each["duration_ms"] == pytest.approx(lasted, abs=0.01)


@pytest.mark.parametrize("mode", ["pipeline", "engine"])
def test_a_turn_is_told_when_it_begins_and_when_it_is_over(mode: str) -> None:
    told = told_of(mode)
    first = told.of("turn_started")[0]["turn"]
    assert isinstance(first, TurnMetrics)
    assert (first.user_text, first.agent_text) == ("", "")
    whole = told.of("turn_ended")[0]["turn"]
    assert (whole.user_text, whole.agent_text) == ("", GREETING)
    assert told.of("metrics_collected")[0]["turn"] == whole
    answered = told.of("turn_ended")[1]["turn"]
    assert answered.user_text == f"please look it up {CANARY}"
    assert answered.latency.total_ms > 0


def test_units_of_the_pipeline_are_those_really_used() -> None:
    told = told_of("pipeline")
    first, second, *_ = told.of("llm_metrics")
    assert (first["input_tokens"], first["output_tokens"], first["iteration"]) == (20, 4, 1)
    assert (second["input_tokens"], second["output_tokens"], second["iteration"]) == (40, 8, 2)
    assert (first["provider"], first["model"]) == ("ActingLLM", "acting-1")
    greeting = told.of("tts_metrics")[0]
    assert (greeting["provider"], greeting["model"]) == ("named", "voice-1")
    assert greeting["text_len"] == len(GREETING)
    assert greeting["bytes"] == greeting["audio_ms"] * 8
    chunks = sum(each["bytes"] for each in told.of("tts_chunk"))
    assert chunks == sum(each["bytes"] for each in told.of("tts_metrics"))
    cut = [each for each in told.of("tts_metrics") if each["interrupted"]]
    assert len(cut) <= 1
    assert all(each["error"] == "" for each in told.of("tts_metrics"))


def test_units_of_an_engine_are_those_really_used() -> None:
    told = told_of("engine")
    responses = told.of("llm_metrics")
    ended = told.of("call_ended")[0]["metrics"]
    assert {each["model"] for each in responses} == {ended.llm_model}
    assert all(each["input_tokens"] > 0 for each in responses if not each["interrupted"])


@virtual_time.in_virtual_time
async def test_what_the_carrier_says_after_the_call_is_told_too() -> None:
    told = Told()
    async with Simulation(pipeline_agent(), recording=True) as phone:
        told.listen_to(phone)
        call = await phone.talk(Polite("please", voice=babble))
        server = phone._server
        assert server is not None
        assert server.exchange is not None
        server.exchange.note(server.carrier, CallCosted(call.sid, 0.0123, "d1"))
        await phone.events.drain()
        await asyncio.sleep(2.0)
    for kind in AFTER_THE_CALL:
        (payload,) = told.of(kind)
        assert set(payload) == {"call_id", "timestamp", *KEYS[kind].split()}
    assert told.of("call_cost_updated")[0]["telephony"] == pytest.approx(0.0123)


@pytest.mark.parametrize("mode", ["pipeline", "engine"])
def test_the_written_record_has_what_happened(mode: str, tmp_path: Path) -> None:
    agent = pipeline_agent() if mode == "pipeline" else engine_agent()[0]
    virtual_time.run(eventful_call(agent, persist_root=tmp_path))
    (path,) = tmp_path.glob("calls/*/*/*/*/events.jsonl")
    written = [json.loads(line) for line in path.read_text().splitlines()]
    kinds = [line["type"] for line in written]
    assert set(kinds) == {"tool_call", "tool_result", "barge_in", "dtmf", "guardrail", "error"}
    by_kind = {line["type"]: line["data"] for line in written}
    assert by_kind["tool_call"]["name"] == "look_up"
    assert by_kind["tool_call"]["arguments"] == {"what": CANARY}
    assert by_kind["tool_result"]["result"] == json.dumps({"found": CANARY}, separators=(",", ":"))
    assert by_kind["dtmf"] == {"digit": "5"}
    assert by_kind["guardrail"] == {"name": "manners"}
    assert by_kind["error"]["stage"] == "recording"
    assert by_kind["barge_in"]["bargein_ms"] > 0
    assert all(line["schema_version"] == "1.0" and line["ts"].endswith("Z") for line in written)
