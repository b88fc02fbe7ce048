"""Gemini Live: our messages through the vendor's own types, its messages into ours, what a program can set."""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any, Final

import pytest

from getpatter import GeminiLive
from getpatter.agent_parts import RealtimeTurnDetection
from getpatter.core import messages as m
from getpatter.engines.base import Briefing, Expires, ToolSchema, Usage
from getpatter.engines.google import Live
from getpatter.errors import WireError

TOOL: Final = ToolSchema(
    "lookup",
    "Find a free day.",
    {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
)
SOUND: Final = base64.b64encode(b"abcd").decode()


def only(*frames: object) -> dict[str, Any]:
    (frame,) = frames
    found: dict[str, Any] = json.loads(frame)  # type: ignore[arg-type]
    return found


def setup_of(engine: GeminiLive, briefing: Briefing) -> dict[str, Any]:
    setup: dict[str, Any] = only(*engine.dialect(briefing).opened())["setup"]
    return setup


def content(**fields: Any) -> str:
    return json.dumps({"serverContent": fields})


def sound(data: str = SOUND) -> dict[str, Any]:
    return {"parts": [{"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": data}}]}


def test_what_we_send_is_what_the_vendors_own_types_know() -> None:
    types = pytest.importorskip("google.genai.types")
    detection = RealtimeTurnDetection(silence_duration_ms=400)
    briefing = Briefing("Be brief.", tools=(TOOL,), turn_detection=detection, is_resumed=True)
    engine = GeminiLive("k")
    dialect = engine.dialect(briefing)
    setup = only(*dialect.opened())["setup"]
    types.RealtimeInputConfig.model_validate(setup.pop("realtimeInputConfig"))
    types.LiveClientSetup.model_validate(setup)
    dialect.receive(
        json.dumps({"toolCall": {"functionCalls": [{"id": "c1", "name": "lookup", "args": {}}]}})
    )
    commands: tuple[m.AnyCommand, ...] = (
        m.AskReply(1),
        m.AskReply(2, words="Hello, caller."),
        m.AskReply(3, hint="Go on."),
        m.TellEngine("[DTMF: 5]"),
        m.ReturnTool("c1", "lookup", "{}", '{"free":"Tuesday"}'),
        m.ReturnTool("lost", "lookup", "{}", "Tuesday"),
    )
    frames = [frame for command in commands for frame in dialect.carry_out(command)]
    frames += [*dialect.recall([("user", "Hello."), ("assistant", "Hi.")]), dialect.audio(b"1234")]
    assert len(frames) == 8
    for frame in frames:
        types.LiveClientMessage.model_validate(only(frame))


def test_the_session_is_complete() -> None:
    engine = GeminiLive("k", voice="Kore", temperature=0.5)
    briefing = Briefing("You are the desk.", language="it-IT", tools=(TOOL,))
    assert setup_of(engine, briefing) == {
        "model": "models/gemini-3.8-live",
        "generationConfig": {
            "responseModalities": ["AUDIO"],
            "temperature": 0.5,
            "speechConfig": {
                "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}},
                "languageCode": "it-IT",
            },
        },
        "systemInstruction": {"parts": [{"text": "You are the desk."}]},
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "lookup",
                        "description": "Find a free day.",
                        "parametersJsonSchema": TOOL.parameters,
                        "behavior": "BLOCKING",
                    }
                ]
            }
        ],
        "realtimeInputConfig": {"activityHandling": "START_OF_ACTIVITY_INTERRUPTS"},
        "inputAudioTranscription": {},
        "outputAudioTranscription": {},
        "sessionResumption": {},
        "contextWindowCompression": {"slidingWindow": {}},
    }


def test_what_the_engine_names_goes_before_what_its_agent_does() -> None:
    briefing = Briefing("", voice="Kore", model="gemini-3.1-flash-live-preview", language="fr")
    speech = setup_of(GeminiLive("k"), briefing)["generationConfig"]["speechConfig"]
    assert speech["voiceConfig"] == {"prebuiltVoiceConfig": {"voiceName": "Kore"}}
    assert speech["languageCode"] == "fr"
    assert setup_of(GeminiLive("k"), briefing)["model"] == "models/gemini-3.1-flash-live-preview"
    named = GeminiLive("k", "tunedModels/mine", "Puck", "de-DE")
    setup = setup_of(named, briefing)
    assert setup["model"] == "tunedModels/mine"
    speech = setup["generationConfig"]["speechConfig"]
    assert speech["languageCode"] == "de-DE"
    assert speech["voiceConfig"] == {"prebuiltVoiceConfig": {"voiceName": "Puck"}}


def test_interruptions_and_silence_are_the_services() -> None:
    detection = RealtimeTurnDetection(silence_duration_ms=700)
    briefing = Briefing("", interrupts=False, turn_detection=detection)
    assert setup_of(GeminiLive("k"), briefing)["realtimeInputConfig"] == {
        "activityHandling": "NO_INTERRUPTION",
        "automaticActivityDetection": {"silenceDurationMs": 700},
    }


def test_the_connection_carries_the_key_and_shows_it_nowhere() -> None:
    address = GeminiLive("AIza-1", base_url="https://example.com/").dialect(Briefing("")).address()
    with pytest.raises(StopIteration) as stop:
        next(address)
    request = stop.value.value
    assert request.url == (
        "wss://example.com/ws/google.ai.generativelanguage.v1beta.GenerativeService"
        ".BidiGenerateContent"
    )
    assert dict(request.headers) == {"x-goog-api-key": "AIza-1"}
    assert "AIza-1" not in repr(request)


def test_a_reply_to_the_caller_is_a_turn_and_a_response() -> None:
    dialect = GeminiLive("k").dialect(Briefing(""))
    assert dialect.receive('{"setupComplete":{}}') == [m.EngineReady()]
    assert dialect.receive(content(inputTranscription={"text": "Hel"})) == [
        m.EngineTranscribed("caller-1", "Hel", is_final=False)
    ]
    assert dialect.receive(content(outputTranscription={"text": "Hi"})) == []
    assert dialect.receive(content(modelTurn=sound())) == [
        m.EngineTookTurn("caller-1"),
        m.EngineTranscribed("caller-1", "Hel", is_final=False),
        m.EngineReplyBegan("live-1"),
        m.EngineText("live-1", "live-1.0", "Hi"),
        m.EngineAudio("live-1", "live-1.0", b"abcd"),
    ]
    assert dialect.receive(content(inputTranscription={"text": "lo."})) == [
        m.EngineTranscribed("caller-1", "lo.", is_final=False)
    ]
    # Several things may be told in one message.
    assert dialect.receive(content(outputTranscription={"text": "!"}, generationComplete=True)) == [
        m.EngineText("live-1", "live-1.0", "!"),
        m.EngineItemDone("live-1", "live-1.0"),
        m.EngineReplyEnded("live-1"),
    ]
    assert dialect.receive(content(turnComplete=True)) == [
        m.EngineTranscribed("caller-1", "Hello.")
    ]


def test_what_was_asked_for_is_no_turn_of_the_callers() -> None:
    dialect = GeminiLive("k").dialect(Briefing(""))
    asked = only(*dialect.carry_out(m.AskReply(7, words="Welcome.")))["clientContent"]
    assert asked["turnComplete"] is True
    assert asked["turns"][0]["parts"][0]["text"].endswith("\n\nWelcome.")
    assert dialect.receive(content(modelTurn=sound()))[0] == m.EngineReplyBegan("live-1", 7)


def test_an_answer_without_words_is_an_answer() -> None:
    dialect = GeminiLive("k").dialect(Briefing(""))
    dialect.carry_out(m.AskReply(7))
    assert dialect.receive(content(generationComplete=True)) == [
        m.EngineReplyBegan("live-1", 7),
        m.EngineReplyEnded("live-1"),
    ]


def test_an_interruption_is_the_callers_unless_it_is_our_own() -> None:
    dialect = GeminiLive("k").dialect(Briefing(""))
    dialect.receive(content(modelTurn=sound()))
    cancelled = m.EngineReplyEnded("live-1", "cancelled")
    told = dialect.receive(content(interrupted=True))
    assert told[0] == m.EngineInterrupted()
    assert cancelled in told
    dialect.receive(content(turnComplete=True))
    dialect.receive(content(modelTurn=sound()))
    dialect.carry_out(m.StopReply("live-2"))
    dialect.carry_out(m.AskReply(1, words="I may not say that."))
    # What still comes of the old one is nobody's.
    assert m.EngineReplyEnded("live-2", "cancelled") in dialect.receive(content(modelTurn=sound()))
    assert not any(
        isinstance(each, m.EngineInterrupted) for each in dialect.receive(content(interrupted=True))
    )
    assert dialect.receive(content(modelTurn=sound()))[0] == m.EngineReplyBegan("live-3", 1)


def test_tools_are_called_answered_and_called_off() -> None:
    dialect = GeminiLive("k").dialect(Briefing("", tools=(TOOL,)))
    calls = [{"id": "c1", "name": "lookup", "args": {"day": "any"}}, {"name": "lookup", "args": {}}]
    told = dialect.receive(json.dumps({"toolCall": {"functionCalls": calls}}))
    assert told[-3:] == [
        m.EngineCalledTool("live-1", "c1", "lookup", '{"day": "any"}'),
        m.EngineCalledTool("live-1", "live-1.call-2", "lookup", "{}"),
        m.EngineReplyEnded("live-1"),
    ]

    def returned(call: str, output: str) -> Any:
        frames = dialect.carry_out(m.ReturnTool(call, "lookup", "{}", output))
        return only(*frames)["toolResponse"]["functionResponses"] if frames else None

    assert returned("live-1.call-2", "On [Tuesday]") == [
        {"name": "lookup", "response": {"output": "On [Tuesday]"}}
    ]
    dialect.receive('{"toolCallCancellation":{"ids":["c1"]}}')
    assert returned("c1", '{"free":1}') is None
    # Results make it speak by themselves; asked a second time, we insist.
    assert dialect.carry_out(m.AskReply(3)) == []
    assert len(dialect.carry_out(m.AskReply(4))) == 1


def test_the_end_of_a_connection_is_said_and_the_session_outlives_it() -> None:
    dialect = GeminiLive("k").dialect(Briefing("Be brief."))
    dialect.receive('{"setupComplete":{}}')
    assert dialect.receive('{"goAway":{"timeLeft":"9.5s"}}') == [Expires(9.5)]
    assert dialect.receive('{"goAway":{}}') == [Expires(0.0)]
    dialect.receive('{"sessionResumptionUpdate":{"newHandle":"h1","resumable":true}}')
    dialect.receive('{"sessionResumptionUpdate":{"resumable":false}}')
    resumed = Briefing("Be brief.", is_resumed=True)
    heir = dialect.heir(resumed, [("user", "Hello.")])
    setup = only(*heir.opened())["setup"]
    assert setup["sessionResumption"] == {"handle": "h1"}
    assert "historyConfig" not in setup
    assert heir.recall([("user", "Hello.")]) == []
    # It never became ready: the handle is worth nothing, and the next one must be told.
    last = heir.heir(resumed, [("user", "Hello.")])
    setup = only(*last.opened())["setup"]
    assert setup["sessionResumption"] == {}
    assert setup["historyConfig"] == {"initialHistoryInClientContent": True}
    told = only(*last.recall([("user", "Hello."), ("assistant", "Hi.")]))
    assert told == {
        "clientContent": {
            "turns": [
                {"role": "user", "parts": [{"text": "Hello."}]},
                {"role": "model", "parts": [{"text": "Hi."}]},
            ],
            "turnComplete": True,
        }
    }


def test_usage_is_told_by_kind_and_cached_tokens_apart() -> None:
    dialect = GeminiLive("k").dialect(Briefing(""))
    used = {
        "promptTokenCount": 132,
        "responseTokenCount": 121,
        "thoughtsTokenCount": 5,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 119},
            {"modality": "AUDIO", "tokenCount": 13},
        ],
        "cacheTokensDetails": [
            {"modality": "TEXT", "tokenCount": 60},
            {"modality": "AUDIO", "tokenCount": 4},
        ],
        "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 121}],
    }
    assert dialect.receive(json.dumps({"usageMetadata": used})) == [
        Usage(
            "google",
            "gemini-3.8-live",
            input_text_tokens=59,
            input_audio_tokens=9,
            cached_text_tokens=60,
            cached_audio_tokens=4,
            output_text_tokens=5,
            output_audio_tokens=121,
        )
    ]
    plain = {"usageMetadata": {"promptTokenCount": 9, "responseTokenCount": 3}}
    assert dialect.receive(json.dumps(plain)) == [
        Usage("google", "gemini-3.8-live", input_text_tokens=9, output_text_tokens=3)
    ]


@pytest.mark.parametrize(
    "frame", [b"", b"[]", b'{"serverContent":1}', b"\xff", content(modelTurn=sound("abc")).encode()]
)
def test_rubbish_is_a_wire_error(frame: bytes) -> None:
    with pytest.raises(WireError):
        GeminiLive("k").dialect(Briefing("")).receive(frame)


def test_it_is_one_class_under_both_names_with_the_documented_parameters() -> None:
    assert Live is GeminiLive
    engine = GeminiLive("k", "gemini-x", "Kore", "it-IT", 0.2)
    assert (engine.kind, engine.model, engine.voice) == ("gemini_live", "gemini-x", "Kore")
    assert (engine.language, engine.temperature) == ("it-IT", 0.2)
    default = GeminiLive("k")
    assert (default.voice, default.language, default.temperature) == ("Puck", "en-US", 0.8)
    with pytest.raises(TypeError):
        GeminiLive("k", colour="red")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="temperature"):
        GeminiLive("k", temperature=3)
    with pytest.raises(ValueError, match="base_url"):
        GeminiLive("k", base_url="example.com")


def test_the_key_comes_from_the_environment_and_shows_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    with pytest.raises(ValueError, match="GEMINI_API_KEY or GOOGLE_API_KEY"):
        GeminiLive()
    monkeypatch.setenv("GOOGLE_API_KEY", "AIza-second")
    assert GeminiLive().api_key == "AIza-second"
    monkeypatch.setenv("GEMINI_API_KEY", "AIza-first")
    engine = GeminiLive(voice="Kore")
    assert engine.api_key == "AIza-first"
    assert "AIza" not in repr(engine)
    assert b"AIza" not in pickle.dumps(engine)
    assert pickle.loads(pickle.dumps(engine)) == engine
