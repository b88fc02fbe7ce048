"""The wire of ElevenLabs' agents against its specification: what we send, what we read, what the fake says."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from getpatter.agent import build_agent
from getpatter.core import messages as m
from getpatter.engines.base import Answer, Briefing, Complaint
from getpatter.engines.elevenlabs import ConvAIDialect, ElevenLabsConvAI
from getpatter.errors import WireError
from getpatter.testing.callers import Caller, babble, hang_up, interrupt_after, listen, say
from getpatter.testing.fake_convai import AgentCalls, FakeConvAI
from getpatter.testing.fake_speech import Call, Line
from getpatter.testing.memory import in_memory
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.tools import Tool
from getpatter.types import MULAW_8K, PCM16_16K, PCM16_24K

Json = dict[str, Any]

SPECIFICATION: Final = Path(os.environ.get("GETPATTER_ELEVENLABS_SPEC", "missing"))
specified = pytest.mark.skipif(
    not SPECIFICATION.is_file(), reason="the vendor's specification is not beside this checkout"
)
SENT: Final = {
    "": "UserAudioPayload",
    "pong": "PongPayload",
    "user_message": "UserMessagePayload",
    "contextual_update": "ContextualUpdatePayload",
    "client_tool_result": "ClientToolResultPayload",
    "conversation_initiation_client_data": "ConversationInitiationPayload",
}
LONG: Final = "We are open from nine to five on weekdays, and until noon on Saturday. " * 3


def dialect(**options: Any) -> ConvAIDialect:
    briefing = Briefing(options.pop("instructions", "Be brief."), **options)
    return ElevenLabsConvAI("xi-1", "agent_1", voice="voice_1").dialect(briefing)


@cache
def specification() -> Json:
    yaml = pytest.importorskip("yaml")
    with SPECIFICATION.open(encoding="utf-8") as file:
        loaded: Json = yaml.safe_load(file)
    return loaded


def check(name: str, message: Mapping[str, object]) -> None:
    """Raises when `message` is no instance of the schema. What no property names is refused too."""
    jsonschema = pytest.importorskip("jsonschema")
    components = specification()["components"]
    schema = {"$ref": f"#/components/schemas/{name}", "components": components}
    jsonschema.Draft7Validator(schema).validate(message)
    known = components["schemas"][name].get("properties", {})
    assert set(message) <= set(known), f"{set(message) - set(known)} is in no {name}"


def every_frame() -> Iterator[Json]:
    """All that we ever say."""
    one = dialect(
        first_message="Hello.", language="it-IT", variables={"name": "Ada"}, voice="voice_2"
    )
    frames = [*one.opened(), *dialect(instructions="", is_resumed=True).opened()]
    frames.append(one.audio(b"\xff" * 160))
    frames += one.recall([("user", "Hello."), ("assistant", "Hello yourself.")])
    for command in (
        m.AskReply(1, words="Goodbye."),
        m.AskReply(2, hint="Ask for the day."),
        m.TellEngine("[DTMF: 5]"),
        m.ReturnTool("tc_1", "lookup", "{}", "42"),
        m.ReturnTool("tc_2", "lookup", "{}", '{"error": "no"}'),
    ):
        frames += one.carry_out(command)
    for frame in frames:
        yield msgspec.json.decode(frame)
    (pong,) = one.receive(b'{"type":"ping","ping_event":{"event_id":7,"ping_ms":20}}')
    assert isinstance(pong, Answer)
    yield msgspec.json.decode(pong.frame)


@specified
def test_what_we_send_is_what_the_vendor_specifies() -> None:
    seen: set[str] = set()
    for frame in every_frame():
        seen.add(frame.get("type", ""))
        check(SENT[frame.get("type", "")], frame)
    assert seen == {*SENT}


def sent_by_the_vendor() -> dict[str, str]:
    """Schema by type, of all messages to a client."""
    components = specification()["components"]
    listed = specification()["channels"]["AgentMessages"]["publish"]["message"]["oneOf"]
    found: dict[str, str] = {}
    for each in listed:
        name = each["$ref"].rsplit("/", 1)[1]
        schema = components["messages"][name]["payload"]["$ref"].rsplit("/", 1)[1]
        found[components["schemas"][schema]["properties"]["type"]["const"]] = schema
    return found


@specified
def test_every_message_of_the_vendor_is_read_or_passed_over() -> None:
    assert len(sent_by_the_vendor()) > 15
    for schema in sent_by_the_vendor().values():
        message = example({"$ref": f"#/components/schemas/{schema}"})
        if schema != "MCPToolCallPayload":  # contradicts itself: nothing is an instance of it
            check(schema, message)
        dialect().receive(msgspec.json.encode(message))


def example(schema: Json) -> Any:  # noqa: C901, PLR0911 - one case for each form
    """The least instance of a schema."""
    if "$ref" in schema:
        return example(specification()["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    if "allOf" in schema:
        return {name: each for part in schema["allOf"] for name, each in example(part).items()}
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return example(schema[choice][0])
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            return {name: example(fields[name]) for name in schema.get("required", ())}
        case "array":
            return []
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case _:
            return "eA=="


class Overheard(FakeConvAI):
    """The fake, and what it said."""

    said: list[Json]

    async def talk(self, call: Call, line: Line) -> None:
        self.said = said = []
        say_it = line.say

        async def keep(message: Mapping[str, object]) -> None:
            said.append(dict(message))
            await say_it(message)

        line.say = keep  # type: ignore[method-assign]
        await super().talk(call, line)


@specified
@in_virtual_time
async def test_what_the_fake_says_is_what_the_vendor_specifies() -> None:
    async def lookup(args: Json, ctx: Json) -> str:
        return f"{args} {ctx['caller']}"

    tool = Tool("lookup", "Find a free day.", {"type": "object", "properties": {}}, lookup)
    service = Overheard(
        heard=["When?", "Stop.", "Thanks."],
        says=[AgentCalls([("lookup", {})], then=LONG), "Of course.", "Goodbye."],
    )
    engine = in_memory(ElevenLabsConvAI(service.key, service.agent_id), service)
    agent = build_agent("You are the desk.", None, engine=engine, tools=[tool])
    caller = Caller(
        listen(gap_ms=1200),
        say("when"),
        interrupt_after(1500),
        say("stop please"),
        listen(gap_ms=1200),
        hang_up(),
        voice=babble,
    )
    async with Simulation(agent) as phone:
        await phone.talk(caller)
    schemas = sent_by_the_vendor()
    for message in service.said:
        check(schemas[message["type"]], message)
    assert {message["type"] for message in service.said} == {
        "conversation_initiation_metadata",
        "agent_response",
        "agent_response_correction",
        "audio",
        "client_tool_call",
        "interruption",
        "ping",
        "user_transcript",
    }


# ------------------------------------------------------------------------------- without the document


def frame(kind: str, **fields: object) -> bytes:
    return msgspec.json.encode({"type": kind, **fields})


def audio(number: int, sound: bytes = b"\xff") -> bytes:
    return frame(
        "audio",
        audio_event={"audio_base_64": base64.b64encode(sound).decode(), "event_id": number},
    )


def names(said: Sequence[object]) -> list[str]:
    return [type(each).__name__ for each in said]


@pytest.mark.parametrize(
    ("name", "found"),
    [("ulaw_8000", MULAW_8K), ("pcm_16000", PCM16_16K), ("pcm_24000", PCM16_24K), ("", PCM16_16K)],
)
def test_the_formats_that_it_announces_are_taken(name: str, found: object) -> None:
    one = dialect()
    event = {
        "conversation_id": "c",
        "agent_output_audio_format": name,
        "user_input_audio_format": "ulaw_8000",
    }
    said = one.receive(
        frame("conversation_initiation_metadata", conversation_initiation_metadata_event=event)
    )
    assert said == [m.EngineReady()]
    assert (one.agent_format, one.caller_format) == (found, MULAW_8K)


def test_a_format_that_nobody_knows_is_an_error_of_the_wire() -> None:
    event = {"agent_output_audio_format": "opus_48000", "user_input_audio_format": "ulaw_8000"}
    with pytest.raises(WireError, match="opus_48000"):
        dialect().receive(
            frame("conversation_initiation_metadata", conversation_initiation_metadata_event=event)
        )


def test_sound_up_to_an_interruption_is_discarded_and_what_follows_is_another_reply() -> None:
    one = dialect()
    assert names(one.receive(audio(3))) == ["EngineReplyBegan", "EngineAudio"]
    assert names(one.receive(frame("interruption", interruption_event={"event_id": 5}))) == [
        "EngineInterrupted"
    ]
    assert one.receive(audio(4)) == []
    assert one.receive(audio(5)) == []
    began, sound = one.receive(audio(6, b"\x01"))
    assert began == m.EngineReplyBegan("agent-2")
    assert sound == m.EngineAudio("agent-2", "agent-2.0", b"\x01")


def test_each_text_of_a_reply_is_an_item_and_a_turn_of_the_caller_ends_it() -> None:
    one = dialect()
    said = [
        *one.receive(frame("agent_response", agent_response_event={"agent_response": " One. "})),
        *one.receive(frame("agent_response", agent_response_event={"agent_response": "Two."})),
        *one.receive(
            frame("user_transcript", user_transcription_event={"user_transcript": "Yes."})
        ),
        *one.receive(frame("agent_response", agent_response_event={"agent_response": "Three."})),
    ]
    texts = [each for each in said if isinstance(each, m.EngineText)]
    assert [(each.item, each.text) for each in texts] == [
        ("agent-1.0", "One."),
        ("agent-1.1", "Two."),
        ("agent-2.0", "Three."),
    ]
    assert m.EngineTranscribed("user-1", "Yes.") in said


def test_an_error_is_a_complaint() -> None:
    (said,) = dialect().receive(frame("error", error_event={"code": 1008, "message": "no"}))
    assert said == Complaint("1008", "no")


def test_what_is_new_to_us_is_passed_over() -> None:
    assert dialect().receive(frame("a_message_of_next_year", anything={"a": 1})) == []


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_rubbish_raises_only_a_wire_error(data: bytes) -> None:
    try:
        dialect().receive(data)
    except WireError:
        return


@given(
    st.sampled_from(["audio", "ping", "interruption", "client_tool_call", "agent_response"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.dictionaries(st.text(max_size=12), inner, max_size=3),
        max_leaves=5,
    ),
)
def test_known_messages_of_a_wrong_form_raise_only_a_wire_error(kind: str, body: Any) -> None:
    fields = {f"{kind}_event": body, "client_tool_call": body}
    try:
        dialect().receive(msgspec.json.encode({"type": kind, **fields}))
    except WireError:
        return
