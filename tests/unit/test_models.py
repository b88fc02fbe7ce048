"""The data that programs are given: defaults, immutability, JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from getpatter.models import (
    CallEvent,
    CallMetrics,
    CallResult,
    ChatContext,
    ChatMessage,
    CostBreakdown,
    HookContext,
    IncomingMessage,
    LatencyBreakdown,
    MachineDetectionResult,
    STTConfig,
    ToolCall,
    Transcript,
    TTSConfig,
    TurnMetrics,
    Word,
)

TURN = TurnMetrics(0, "hi", "hello", LatencyBreakdown(total_ms=640.0), tts_characters=5)
METRICS = CallMetrics("c1", 12.5, [TURN], CostBreakdown(stt=0.1, telephony=0.2))  # type: ignore[arg-type]

FROZEN: list[Any] = [
    CostBreakdown(),
    LatencyBreakdown(),
    TURN,
    METRICS,
    CallResult("c1", "answered"),
    MachineDetectionResult("c1", "any", "machine", "machine_start", 1.0),
    CallEvent("c1"),
    IncomingMessage("hi", "c1", "+15550001234"),
    HookContext("c1"),
    Transcript("hi", is_final=True, words=(Word("hi", 0, 200, 0.9),)),
    STTConfig("any", "s3cret"),
    TTSConfig("any", "s3cret"),
    ChatMessage("user", "hi"),
    ToolCall("1", "book"),
]


@pytest.mark.parametrize("value", FROZEN, ids=lambda value: type(value).__name__)
def test_frozen(value: Any) -> None:
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, "other")
    hash(value)


@pytest.mark.parametrize(
    "value", [v for v in FROZEN if hasattr(v, "to_dict")], ids=lambda value: type(value).__name__
)
def test_json(value: Any) -> None:
    data = value.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    if not isinstance(value, ChatMessage):
        assert set(data) == {field.name for field in dataclasses.fields(value)}


def test_metrics_nest() -> None:
    data: Any = METRICS.to_dict()
    assert data["turns"][0]["latency"]["total_ms"] == 640.0
    assert data["turns"][0]["latency"]["llm_ttft_ms"] is None
    assert data["cost"]["total"] == pytest.approx(0.3)
    data["turns"].clear()
    assert METRICS.turns == (TURN,)


def test_the_total_is_the_sum() -> None:
    cost = CostBreakdown(stt=1, tts=2, llm=3, telephony=4, total=99, llm_cached_savings=5)
    assert cost.total == 10
    assert dataclasses.replace(cost, stt=2).total == 11


def test_keys_are_hidden() -> None:
    for config in (STTConfig("any", "s3cret", options={"a": 1}), TTSConfig("any", "s3cret")):
        assert "s3cret" not in repr(config)
        assert config.to_dict()["api_key"] == "***"
    assert STTConfig("any", "").to_dict()["api_key"] == ""
    assert (STTConfig("any", "k").language, TTSConfig("any", "k").voice) == ("en", "alloy")


def test_options_are_copied() -> None:
    options = {"model": "a"}
    config = STTConfig("any", "k", options=options)
    options["model"] = "b"
    assert config.options == {"model": "a"}


# ---------------------------------------------------------------------------------------------- chat


def conversation() -> ChatContext:
    chat = ChatContext()
    chat.add_system("Be kind.")
    chat.add_user("Book a table.")
    chat.add_assistant("One moment.", [ToolCall("t1", "book", '{"seats": 2}')])
    chat.add_tool_result("t1", '{"ok": true}', "book")
    chat.add_assistant("Done.")
    chat.add_user("Thanks.")
    return chat


def test_messages_stay_in_order() -> None:
    chat = conversation()
    roles = [message.role for message in chat.get_messages()]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert [message.content for message in chat.get_last_n(2)] == ["Done.", "Thanks."]
    assert chat.get_last_n(0) == []
    assert len(chat.get_last_n(99)) == len(chat) == 6


def test_a_copy_is_independent() -> None:
    chat = conversation()
    copy = chat.copy()
    copy.add_user("More.")
    chat.get_messages().clear()
    assert (len(chat), len(copy)) == (6, 7)
    assert chat == conversation()
    assert chat != copy
    assert chat != "chat"


@pytest.mark.parametrize(
    ("most", "left"),
    [
        (6, ["system", "user", "assistant", "tool", "assistant", "user"]),
        (5, ["system", "assistant", "tool", "assistant", "user"]),
        (4, ["system", "assistant", "user"]),
        (2, ["system", "user"]),
        (0, ["system"]),
    ],
)
def test_truncation_keeps_instructions_and_no_answer_without_its_call(
    most: int, left: list[str]
) -> None:
    chat = conversation()
    chat.truncate(most)
    assert [message.role for message in chat.get_messages()] == left


def test_as_chat_completion_messages() -> None:
    assert conversation().to_openai() == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Book a table."},
        {
            "role": "assistant",
            "content": "One moment.",
            "tool_calls": [
                {
                    "id": "t1",
                    "type": "function",
                    "function": {"name": "book", "arguments": '{"seats": 2}'},
                }
            ],
        },
        {"role": "tool", "content": '{"ok": true}', "tool_call_id": "t1"},
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "Thanks."},
    ]


def test_as_alternating_messages() -> None:
    system, messages = conversation().to_anthropic()
    assert system == "Be kind."
    assert messages == [
        {"role": "user", "content": "Book a table."},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "One moment."},
                {"type": "tool_use", "id": "t1", "name": "book", "input": {"seats": 2}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": '{"ok": true}'}],
        },
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "Thanks."},
    ]


def test_roles_alternate_even_where_the_conversation_did_not() -> None:
    chat = ChatContext([ChatMessage("user", "a"), ChatMessage("user", "b")])
    chat.add_assistant("", [ToolCall("t", "x", '{"cut": of')])
    assert chat.to_anthropic()[1] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": "x", "input": {}}],
        },
    ]
    assert chat.to_openai()[-1]["content"] is None


def test_json_and_back() -> None:
    chat = conversation()
    assert ChatContext.from_json(chat.to_json()) == chat


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[1]",
        "not json",
        '[{"role": "user"}]',
        '[{"role": "king", "content": ""}]',
        '[{"role": "tool", "content": "", "tool_call_id": 5}]',
        '[{"role": "assistant", "content": "", "tool_calls": [{"id": 1}]}]',
        '[{"role": "assistant", "content": "", "tool_calls": 7}]',
    ],
)
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the texts of json and ours differ; the type is the promise
        ChatContext.from_json(text)


def test_content_is_a_text() -> None:
    with pytest.raises(TypeError, match="content must be a str"):
        ChatMessage("user", None)  # type: ignore[arg-type]
