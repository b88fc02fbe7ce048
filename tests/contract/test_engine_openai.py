"""OpenAI Realtime: our frames against the specification, its events against ours, what a program can set."""

from __future__ import annotations

import base64
import json
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from getpatter import OpenAIRealtime, OpenAIRealtime2, Patter
from getpatter.agent_parts import RealtimeTurnDetection
from getpatter.core import messages as m
from getpatter.engines.base import Briefing, Complaint, ToolSchema, Usage
from getpatter.engines.openai import VOICES, Realtime
from getpatter.errors import WireError
from getpatter.types import ALAW_8K, MULAW_8K, PCM16_16K, PCM16_24K, AudioFormat

SPECIFICATION: Final = Path(__file__).parents[3] / "shared" / "specs" / "openai_openapi.json"
TOOL: Final = ToolSchema(
    "lookup",
    "Find a free day.",
    {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
)


def frames(*given: object) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in given]  # type: ignore[arg-type]


def session_of(engine: OpenAIRealtime, briefing: Briefing) -> dict[str, Any]:
    (update,) = frames(*engine.dialect(briefing).opened())
    assert update["type"] == "session.update"
    session: dict[str, Any] = update["session"]
    return session


def every_frame() -> list[dict[str, Any]]:
    """One of each client event that we may send, in all their forms."""
    engine = OpenAIRealtime("sk-1", noise_reduction="near_field", reasoning_effort="low")
    dialect = engine.dialect(Briefing("Be brief.", tools=(TOOL,)))
    commands: tuple[m.AnyCommand, ...] = (
        m.AskReply(1),
        m.AskReply(2, words="Hello, caller."),
        m.AskReply(3, hint="Go on."),
        m.StopReply("resp_1"),
        m.CutItem("item_1", 1200),
        m.TellEngine("[DTMF: 5]"),
        m.ReturnTool("call_1", "lookup", '{"day":"any"}', '{"free":"Tuesday"}'),
    )
    made = [*dialect.opened(), dialect.audio(b"\xff" * 160)]
    for command in commands:
        made += dialect.carry_out(command)
    made += dialect.recall([("user", "Hello."), ("assistant", "Hello yourself.")])
    semantic = RealtimeTurnDetection(type="semantic_vad", eagerness="low")
    made += OpenAIRealtime("sk-1", turn_detection=semantic).dialect(Briefing("")).opened()
    made += OpenAIRealtime("sk-1").dialect(Briefing("", stream=PCM16_16K)).opened()
    return frames(*made)


@pytest.mark.skipif(
    not SPECIFICATION.is_file(), reason="the vendor's specification is not beside this checkout"
)
def test_what_we_send_is_what_the_vendor_specifies() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    specification = json.loads(SPECIFICATION.read_text(encoding="utf-8"))
    names = {
        "session.update": "RealtimeClientEventSessionUpdate",
        "input_audio_buffer.append": "RealtimeClientEventInputAudioBufferAppend",
        "response.create": "RealtimeClientEventResponseCreate",
        "response.cancel": "RealtimeClientEventResponseCancel",
        "conversation.item.truncate": "RealtimeClientEventConversationItemTruncate",
        "conversation.item.create": "RealtimeClientEventConversationItemCreate",
    }
    for frame in every_frame():
        schema = {
            "$ref": f"#/components/schemas/{names[frame['type']]}",
            "components": specification["components"],
        }
        jsonschema.Draft202012Validator(schema).validate(frame)


def test_the_session_is_complete() -> None:
    briefing = Briefing("You are the desk.", language="it-IT", tools=(TOOL,), stream=MULAW_8K)
    session = session_of(OpenAIRealtime("sk-1", voice="marin"), briefing)
    assert session == {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": "You are the desk.",
        "audio": {
            "input": {
                "format": {"type": "audio/pcmu"},
                "transcription": {"model": "gpt-4o-mini-transcribe", "language": "it"},
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 300,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
        },
        "tools": [
            {
                "type": "function",
                "name": "lookup",
                "description": "Find a free day.",
                "parameters": TOOL.parameters,
            }
        ],
        "tool_choice": "auto",
    }


@pytest.mark.parametrize(
    ("stream", "wire", "taken"),
    [
        (MULAW_8K, {"type": "audio/pcmu"}, MULAW_8K),
        (ALAW_8K, {"type": "audio/pcma"}, ALAW_8K),
        (PCM16_16K, {"type": "audio/pcm", "rate": 24000}, PCM16_24K),
    ],
)
def test_a_carriers_own_format_passes_untouched_where_the_service_has_it(
    stream: AudioFormat, wire: Mapping[str, object], taken: AudioFormat
) -> None:
    dialect = OpenAIRealtime("sk-1").dialect(Briefing("", stream=stream))
    (update,) = frames(*dialect.opened())
    assert update["session"]["audio"]["input"]["format"] == wire
    assert update["session"]["audio"]["output"]["format"] == wire
    assert dialect.caller_format == dialect.agent_format == taken


@pytest.mark.parametrize(
    "briefing",
    [
        Briefing("", interrupts=False),
        Briefing("", interrupts_late=True),
        Briefing("", gate_on_transcript=True),
    ],
)
def test_settings_that_the_service_cannot_keep_are_kept_by_us(briefing: Briefing) -> None:
    engine = OpenAIRealtime("sk-1")
    detection = session_of(engine, briefing)["audio"]["input"]["turn_detection"]
    assert detection["create_response"] is detection["interrupt_response"] is False
    assert not engine.manners(briefing).answers_itself


def test_the_connection_names_the_model_and_carries_the_key() -> None:
    engine = OpenAIRealtime("sk-1", model="gpt-realtime", base_url="https://example.com/v1/")
    address = engine.dialect(Briefing("")).address()
    with pytest.raises(StopIteration) as stop:
        next(address)
    request = stop.value.value
    assert request.url == "wss://example.com/v1/realtime?model=gpt-realtime"
    assert dict(request.headers) == {"Authorization": "Bearer sk-1"}
    assert "sk-1" not in repr(request)


def test_a_briefing_that_changes_before_the_call_changes_the_session_or_the_connection() -> None:
    dialect = OpenAIRealtime("sk-1").dialect(Briefing("One."))
    dialect.opened()
    assert dialect.brief(Briefing("One.")) == []
    changed = dialect.brief(Briefing("Two."))
    assert changed is not None
    (update,) = frames(*changed)
    assert update["session"]["instructions"] == "Two."
    # The first confirmation is of the first session: only the second makes it ready.
    confirmed = b'{"type":"session.updated","session":{}}'
    assert dialect.receive(confirmed) == []
    assert dialect.receive(confirmed) == [m.EngineReady()]
    assert dialect.brief(Briefing("Two.", model="gpt-realtime-2")) is None


def test_events_become_ours() -> None:
    dialect = OpenAIRealtime("sk-1").dialect(Briefing(""))
    for _ in range(100):
        dialect.audio(b"\xff" * 160)

    def said(**event: Any) -> object:
        (only,) = dialect.receive(json.dumps(event))
        return only

    sound = base64.b64encode(b"abc").decode()
    place = {"response_id": "r1", "item_id": "i1", "output_index": 0, "content_index": 0}
    assert said(type="response.output_audio.delta", delta=sound, **place) == m.EngineAudio(
        "r1", "i1", b"abc"
    )
    assert said(type="response.audio.delta", delta=sound, **place) == m.EngineAudio(
        "r1", "i1", b"abc"
    )
    assert said(
        type="response.output_audio_transcript.delta", delta="Hel", **place
    ) == m.EngineText("r1", "i1", "Hel")
    assert said(
        type="response.output_audio_transcript.done", transcript="Hello.", **place
    ) == m.EngineText("r1", "i1", "Hello.", is_whole=True)
    # 2,000 ms were sent; the voice began at 1,000 and 300 ms of padding are before it.
    assert said(
        type="input_audio_buffer.speech_started", audio_start_ms=700, item_id="u1"
    ) == m.EngineHeardVoice("u1", 1000.0)
    assert said(
        type="input_audio_buffer.speech_stopped", audio_end_ms=2000, item_id="u1"
    ) == m.EngineHeardPause("u1", 300.0)
    assert said(type="input_audio_buffer.committed", item_id="u1") == m.EngineTookTurn("u1")
    assert said(
        type="response.created", response={"id": "r2", "metadata": {"request": "7"}}
    ) == m.EngineReplyBegan("r2", 7)
    call = {"type": "function_call", "call_id": "c1", "name": "lookup", "arguments": "{}"}
    assert said(
        type="response.output_item.done", response_id="r2", output_index=0, item=call
    ) == m.EngineCalledTool("r2", "c1", "lookup", "{}")
    assert said(
        type="conversation.item.input_audio_transcription.failed",
        item_id="u1",
        content_index=0,
        error={"type": "server_error", "code": "audio_unintelligible", "message": "?"},
    ) == m.EngineTranscribed("u1", "")


def test_usage_is_told_by_kind_and_cached_tokens_apart() -> None:
    dialect = OpenAIRealtime("sk-1", model="gpt-realtime").dialect(Briefing(""))
    usage = {
        "total_tokens": 253,
        "input_tokens": 132,
        "output_tokens": 121,
        "input_token_details": {
            "text_tokens": 119,
            "audio_tokens": 13,
            "image_tokens": 0,
            "cached_tokens": 64,
            "cached_tokens_details": {"text_tokens": 60, "audio_tokens": 4, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": 30, "audio_tokens": 91},
    }
    done = {
        "type": "response.done",
        "response": {"id": "r1", "status": "completed", "usage": usage},
    }
    told, ended = dialect.receive(json.dumps(done))
    assert told == Usage(
        "openai",
        "gpt-realtime",
        input_text_tokens=59,
        input_audio_tokens=9,
        cached_text_tokens=60,
        cached_audio_tokens=4,
        output_text_tokens=30,
        output_audio_tokens=91,
    )
    assert ended == m.EngineReplyEnded("r1", "completed")


def test_errors_that_mean_nothing_are_told_to_nobody_and_a_refused_request_to_the_session() -> None:
    dialect = OpenAIRealtime("sk-1").dialect(Briefing(""))

    def error(code: str, event_id: str | None = None) -> object:
        fault = {
            "type": "invalid_request_error",
            "code": code,
            "message": "no",
            "event_id": event_id,
        }
        return dialect.receive(json.dumps({"type": "error", "error": fault}))

    assert error("response_cancel_not_active") == []
    assert error("conversation_already_has_active_response", "ask-4") == [m.EngineRefused(4)]
    assert error("session_expired") == [Complaint("session_expired", "no", ends=True)]
    assert error("invalid_value") == [Complaint("invalid_value", "no")]


@pytest.mark.parametrize("frame", [b"", b"[]", b'{"type":1}', b"\xff", b'{"type":"response.done"}'])
def test_rubbish_is_a_wire_error(frame: bytes) -> None:
    with pytest.raises(WireError):
        OpenAIRealtime("sk-1").dialect(Briefing("")).receive(frame)


# --------------------------------------------------------------------------------- what a program makes


def test_it_is_one_class_under_both_names_with_the_documented_parameters() -> None:
    assert Realtime is OpenAIRealtime
    engine = OpenAIRealtime("sk-1", "echo", "gpt-realtime")
    assert (engine.kind, engine.voice, engine.model) == ("openai_realtime", "echo", "gpt-realtime")
    assert OpenAIRealtime("sk-1").model == "gpt-realtime-mini"
    assert OpenAIRealtime2("sk-1").model == "gpt-realtime-2"
    with pytest.raises(TypeError):
        OpenAIRealtime("sk-1", colour="red")  # type: ignore[call-arg]


def test_the_key_comes_from_the_environment_and_shows_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        OpenAIRealtime()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    engine = OpenAIRealtime(voice="echo")
    assert engine.api_key == "sk-secret"
    assert "sk-secret" not in repr(engine)
    assert b"sk-secret" not in pickle.dumps(engine)
    assert pickle.loads(pickle.dumps(engine)) == engine


def test_another_server_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert OpenAIRealtime("sk-1").base_url == "http://127.0.0.1:1/v1"
    assert OpenAIRealtime("sk-1", base_url="https://b.example").base_url == "https://b.example"
    with pytest.raises(ValueError, match="base_url"):
        OpenAIRealtime("sk-1", base_url="example.com")


@pytest.mark.parametrize("voice", ["nova", "fable", "onyx", "Nova"])
def test_a_voice_that_the_model_lacks_is_replaced_by_one_it_has(
    voice: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert OpenAIRealtime("sk-1", voice=voice).voice in VOICES
    assert "engine.voice_replaced" in caplog.text


def test_voices_of_the_user_pass_through(caplog: pytest.LogCaptureFixture) -> None:
    assert OpenAIRealtime("sk-1", voice="voice_123").voice == "voice_123"
    assert not caplog.records


def test_models_that_were_retired_become_their_successors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = OpenAIRealtime("sk-1", model="gpt-4o-mini-realtime-preview")
    assert engine.model == "gpt-realtime-mini"
    assert "engine.model_replaced" in caplog.text


def test_the_agents_voice_and_model_are_used_where_the_engine_names_none() -> None:
    briefing = Briefing("", voice="coral", model="gpt-realtime-2")
    assert session_of(OpenAIRealtime("sk-1"), briefing)["audio"]["output"]["voice"] == "coral"
    named = OpenAIRealtime("sk-1", voice="echo")
    assert session_of(named, briefing)["audio"]["output"]["voice"] == "echo"


@pytest.mark.parametrize("options", [{"noise_reduction": "loud"}, {"reasoning_effort": "most"}])
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        OpenAIRealtime("sk-1", **options)


def test_an_agent_that_names_nothing_has_this_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    phone = Patter()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    agent = phone.agent(system_prompt="You are the desk.", voice="coral")
    assert isinstance(agent.engine, OpenAIRealtime)
    assert agent.mode == "engine"
    named = phone.agent(system_prompt="You are the desk.", provider="openai_realtime")
    assert isinstance(named.engine, OpenAIRealtime)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        phone.agent(system_prompt="You are the desk.")
