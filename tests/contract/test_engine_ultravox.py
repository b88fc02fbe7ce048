"""Ultravox: the call that we create, its messages into ours and ours into its, what a program can set."""

from __future__ import annotations

import json
import pickle
from typing import Any, Final

import pytest

from getpatter import UltravoxRealtime
from getpatter.agent_parts import RealtimeTurnDetection
from getpatter.core import messages as m
from getpatter.engines.base import Binary, Briefing, ToolSchema, Usage
from getpatter.engines.ultravox import Realtime, UltravoxDialect
from getpatter.errors import AuthenticationError, WireError
from getpatter.net.messages import HttpResponse
from getpatter.types import MULAW_8K, PCM16_8K, PCM16_16K

TOOL: Final = ToolSchema(
    "lookup",
    "Find a free day.",
    {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
)


def dialect_of(briefing: Briefing | None = None) -> UltravoxDialect:
    return UltravoxRealtime("uv-1").dialect(briefing or Briefing(""))


def data(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def only(frames: Any) -> dict[str, Any]:
    (frame,) = frames
    found: dict[str, Any] = json.loads(frame)
    return found


def test_the_call_is_complete() -> None:
    briefing = Briefing(
        "You are the desk.",
        language="it",
        tools=(TOOL,),
        stream=MULAW_8K,
        voice="Mark",
        interrupts_after_ms=450,
        turn_detection=RealtimeTurnDetection(silence_duration_ms=500),
    )
    assert dialect_of(briefing).call() == {
        "systemPrompt": "You are the desk.",
        "model": "ultravox-v0.7",
        "voice": "Mark",
        "languageHint": "it",
        "firstSpeakerSettings": {"user": {}},
        "medium": {
            "serverWebSocket": {
                "inputSampleRate": 8000,
                "outputSampleRate": 8000,
                "clientBufferSizeMs": 30000,
            }
        },
        "maxDuration": "3600s",
        "vadSettings": {
            "minimumInterruptionDuration": "0.450s",
            "turnEndpointDelay": "0.500s",
        },
        "selectedTools": [
            {
                "temporaryTool": {
                    "modelToolName": "lookup",
                    "description": "Find a free day.",
                    "dynamicParameters": [
                        {
                            "name": "day",
                            "location": "PARAMETER_LOCATION_BODY",
                            "schema": {"type": "string"},
                            "required": True,
                        }
                    ],
                    "timeout": "20s",
                    "client": {},
                }
            }
        ],
    }
    assert "vadSettings" not in dialect_of(Briefing("", interrupts=False)).call()


def test_a_phones_rate_is_kept_and_sound_goes_as_it_is() -> None:
    assert dialect_of().caller_format == dialect_of().agent_format == PCM16_8K
    wide = dialect_of(Briefing("", stream=PCM16_16K))
    assert wide.caller_format == PCM16_16K
    frame = wide.audio(b"1234")
    assert isinstance(frame, Binary)
    assert frame == b"1234"


def test_a_call_is_created_and_joined_as_the_service_says() -> None:
    engine = UltravoxRealtime("uv-1", base_url="https://example.com/")
    address = engine.dialect(Briefing("")).address()
    request = next(address)
    assert (request.method, request.url) == ("POST", "https://example.com/api/calls")
    assert request.headers["X-API-Key"] == "uv-1"
    assert "uv-1" not in repr(request)
    with pytest.raises(StopIteration) as stop:
        address.send(HttpResponse(201, {}, b'{"callId":"c","joinUrl":"wss://h/calls/1"}'))
    assert stop.value.value.url == "wss://h/calls/1"


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (403, b'{"detail":"Invalid API key."}', AuthenticationError),
        (201, b'{"callId":"c"}', WireError),
    ],
)
def test_a_call_that_is_not_created_says_why(
    status: int, body: bytes, error: type[Exception]
) -> None:
    address = dialect_of().address()
    next(address)
    with pytest.raises(error):
        address.send(HttpResponse(status, {}, body))


def test_a_reply_to_the_caller_is_a_turn_and_a_response() -> None:
    dialect = dialect_of()
    assert dialect.receive(data("call_started", callId="c")) == [m.EngineReady()]
    assert dialect.receive(data("state", state="thinking")) == []
    heard = data("transcript", role="user", medium="voice", text="Hi.", final=True, ordinal=0)
    assert dialect.receive(heard) == [
        m.EngineTookTurn("caller-1"),
        m.EngineTranscribed("caller-1", "Hi."),
    ]
    assert dialect.receive(data("state", state="speaking")) == []
    assert dialect.receive(b"\0\0\0\0") == []  # silence is nobody's
    assert dialect.receive(b"\1\0\1\0") == [
        m.EngineReplyBegan("agent-1"),
        m.EngineAudio("agent-1", "agent-1.0", b"\1\0\1\0"),
    ]
    place = {"role": "agent", "medium": "voice", "ordinal": 1}
    assert dialect.receive(data("transcript", delta="Hel", final=False, **place)) == [
        m.EngineText("agent-1", "agent-1.0", "Hel")
    ]
    assert dialect.receive(data("transcript", text="Hello", final=False, **place)) == [
        m.EngineText("agent-1", "agent-1.0", "lo")
    ]
    assert dialect.receive(data("transcript", text="Hello.", final=True, **place)) == [
        m.EngineText("agent-1", "agent-1.0", "Hello.", is_whole=True)
    ]
    assert dialect.receive(data("state", state="listening")) == [
        m.EngineItemDone("agent-1", "agent-1.0"),
        m.EngineReplyEnded("agent-1"),
    ]
    # A text that comes again begins nothing.
    assert dialect.receive(data("transcript", text="Hello.", final=True, **place)) == []


def test_an_answer_that_comes_before_the_callers_words_is_an_answer_to_them() -> None:
    dialect = dialect_of()
    dialect.receive(data("state", state="speaking"))
    assert dialect.receive(b"\1\0")[:2] == [
        m.EngineTookTurn("caller-1"),
        m.EngineReplyBegan("agent-1"),
    ]
    heard = data("transcript", role="user", medium="voice", text="Hi.", final=True, ordinal=0)
    assert dialect.receive(heard) == [m.EngineTranscribed("caller-1", "Hi.")]


def test_words_are_forced_hints_are_instructions_and_neither_is_the_callers_turn() -> None:
    dialect = dialect_of()
    assert only(dialect.carry_out(m.AskReply(7, words="Welcome."))) == {
        "type": "forced_agent_message",
        "content": "Welcome.",
        "uninterruptible": False,
        "urgency": "immediate",
    }
    assert dialect.receive(b"\1\0")[0] == m.EngineReplyBegan("agent-1", 7)
    hint = only(dialect.carry_out(m.AskReply(8, hint="Go on.")))
    assert hint["text"] == "<instruction>Go on.</instruction>"
    echo = data("transcript", role="user", medium="text", text="x", final=True, ordinal=3)
    assert all(not isinstance(each, m.EngineTookTurn) for each in dialect.receive(echo))
    strict = dialect_of(Briefing("", interrupts=False))
    assert only(strict.carry_out(m.AskReply(1, words="Hm.")))["uninterruptible"] is True
    # Keys are told and answered by themselves.
    keyed = dialect_of()
    assert only(keyed.carry_out(m.TellEngine("[DTMF: 5]")))["text"] == "[DTMF: 5]"
    assert keyed.carry_out(m.AskReply(1)) == []


def test_an_interruption_is_the_callers_unless_it_is_our_own() -> None:
    dialect = dialect_of()
    dialect.receive(data("state", state="speaking"))
    dialect.receive(b"\1\0")
    told = dialect.receive(data("playback_clear_buffer"))
    assert told[0] == m.EngineInterrupted()
    assert told[-1] == m.EngineReplyEnded("agent-1", "cancelled")
    dialect.receive(data("state", state="listening"))
    dialect.receive(data("state", state="speaking"))
    dialect.receive(b"\1\0")
    # The pong tells that a reply which was stopped here is over here.
    assert only(dialect.carry_out(m.StopReply("agent-2")))["type"] == "ping"
    assert dialect.receive(data("pong", timestamp=0))[-1] == m.EngineReplyEnded(
        "agent-2", "cancelled"
    )
    assert dialect.receive(b"\1\0") == []
    dialect.carry_out(m.AskReply(1, words="I may not say that."))
    assert dialect.receive(data("playback_clear_buffer")) == []
    dialect.receive(data("state", state="speaking"))
    assert dialect.receive(b"\1\0")[0] == m.EngineReplyBegan("agent-3", 1)


def test_tools_are_called_and_answered() -> None:
    dialect = dialect_of(Briefing("", tools=(TOOL,)))
    called = data(
        "client_tool_invocation", toolName="lookup", invocationId="i1", parameters={"day": "any"}
    )
    assert dialect.receive(called)[-2:] == [
        m.EngineCalledTool("agent-1", "i1", "lookup", '{"day": "any"}'),
        m.EngineReplyEnded("agent-1"),
    ]
    assert only(dialect.carry_out(m.ReturnTool("i1", "lookup", "{}", '{"free":1}'))) == {
        "type": "client_tool_result",
        "invocationId": "i1",
        "responseType": "tool-response",
        "agentReaction": "speaks",
        "result": '{"free":1}',
    }
    assert dialect.carry_out(m.AskReply(2)) == []
    assert dialect.receive(b"\1\0")[0] == m.EngineReplyBegan("agent-2", 2)
    dialect.receive(called)
    failed = only(dialect.carry_out(m.ReturnTool("i1", "lookup", "{}", '{"error":"no"}')))
    assert (failed["errorType"], failed["errorMessage"]) == (
        "implementation-error",
        '{"error":"no"}',
    )
    lost = only(dialect.carry_out(m.ReturnTool("i9", "lookup", "{}", "Tuesday")))
    assert (lost["type"], lost["urgency"]) == ("user_text_message", "later")


def test_the_next_call_begins_with_what_was_said() -> None:
    heir = dialect_of().heir(Briefing("Be brief."), [("user", "Hello."), ("assistant", "Hi.")])
    assert heir.call()["initialMessages"] == [
        {"role": "MESSAGE_ROLE_USER", "text": "Hello."},
        {"role": "MESSAGE_ROLE_AGENT", "text": "Hi."},
    ]
    assert heir.lifetime == 3540.0


def test_what_is_billed_is_time() -> None:
    dialect = dialect_of()
    dialect.receive(data("state", state="listening"))
    for _ in range(100):
        dialect.audio(bytes(320))
    assert dialect.receive(data("state", state="thinking")) == [
        Usage("ultravox", "ultravox-v0.7", seconds=2.0, is_conversation=True)
    ]
    assert dialect.receive(data("state", state="speaking")) == []


@pytest.mark.parametrize("frame", ["", "[]", '{"type":1}', "{}"])
def test_rubbish_is_a_wire_error(frame: str) -> None:
    with pytest.raises(WireError):
        dialect_of().receive(frame)


def test_it_is_one_class_under_both_names_with_the_documented_parameters() -> None:
    assert Realtime is UltravoxRealtime
    engine = UltravoxRealtime("uv-1", "ultravox-x", "Jessica")
    assert (engine.kind, engine.model, engine.voice) == (
        "ultravox_realtime",
        "ultravox-x",
        "Jessica",
    )
    with pytest.raises(TypeError):
        UltravoxRealtime("uv-1", colour="red")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="base_url"):
        UltravoxRealtime("uv-1", base_url="example.com")


def test_the_key_comes_from_the_environment_and_shows_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ULTRAVOX_API_KEY", raising=False)
    with pytest.raises(ValueError, match="ULTRAVOX_API_KEY"):
        UltravoxRealtime()
    monkeypatch.setenv("ULTRAVOX_API_KEY", "uv-secret")
    engine = UltravoxRealtime(voice="Mark")
    assert engine.api_key == "uv-secret"
    assert "uv-secret" not in repr(engine)
    assert b"uv-secret" not in pickle.dumps(engine)
    assert pickle.loads(pickle.dumps(engine)) == engine
