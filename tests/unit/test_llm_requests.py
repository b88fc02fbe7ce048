"""What is asked of each vendor: conversation, tools and wishes in its own words."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from getpatter import (
    AnthropicLLM,
    CerebrasLLM,
    GoogleLLM,
    GroqLLM,
    OpenAICompatibleLLM,
    OpenAILLM,
)
from getpatter.llm._model import Model, Who
from getpatter.llm._talk import CUT_OFF, OPENING, SILENCE, settled, text_of, tool_forms
from getpatter.llm.openai import is_text_model

KEY: Final = "made-up-key-0123456789"
SPECIFICATION: Final = os.environ.get("GETPATTER_OPENAI_SPEC", "")
CITY: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS: Final[list[dict[str, Any]]] = [
    {
        "type": "function",
        "function": {"name": "get_weather", "description": "Weather", "parameters": CITY},
    },
    {"type": "function", "name": "get_time", "parameters": {"type": "object", "properties": {}}},
]
SYSTEM: Final = {"role": "system", "content": "Be brief."}
USER: Final = {"role": "user", "content": "Weather in Oslo?"}


def call(call_id: str, name: str = "get_weather", arguments: object = '{"city": "Oslo"}') -> Any:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


TALK: Final[list[dict[str, Any]]] = [
    SYSTEM,
    USER,
    {"role": "assistant", "content": "Let me see.", "tool_calls": [call("a"), call("b")]},
    {"role": "tool", "tool_call_id": "b", "content": '{"celsius": -3}'},
    {"role": "tool", "tool_call_id": "a", "content": "cold"},
    {"role": "assistant", "content": "It is cold."},
    {"role": "user", "content": "Thank you."},
]


def body_of(llm: Model, messages: Any = TALK, tools: Any = TOOLS) -> Any:
    return msgspec.json.decode(llm._request(messages, tools, Who("call-1")).body)


# -------------------------------------------------------------------------------- the conversation


def test_results_follow_their_calls_in_the_order_of_the_calls() -> None:
    roles = [(m["role"], m.get("tool_call_id")) for m in settled(TALK)]
    assert roles[2:5] == [("assistant", None), ("tool", "a"), ("tool", "b")]


def test_a_call_without_result_gets_one_that_says_so() -> None:
    cut: list[dict[str, Any]] = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call("a", arguments='{"ci')]},
    ]
    _, asked, result = settled(cut)
    assert result == {"role": "tool", "tool_call_id": "a", "content": CUT_OFF}
    assert json.loads(CUT_OFF)["error"]
    assert asked["tool_calls"] == [call("a", arguments="{}")]


def test_a_result_that_comes_later_is_moved_to_its_call() -> None:
    late: list[dict[str, Any]] = [
        {"role": "assistant", "tool_calls": [call("a")]},
        {"role": "user", "content": "Hello?"},
        {"role": "tool", "tool_call_id": "a", "content": "cold"},
    ]
    assert [m["role"] for m in settled(late)] == ["assistant", "tool", "user"]


def test_calls_with_the_same_id_keep_their_own_results() -> None:
    twice: list[dict[str, Any]] = [
        {"role": "assistant", "tool_calls": [call("a")]},
        {"role": "tool", "tool_call_id": "a", "content": "first"},
        {"role": "assistant", "tool_calls": [call("a")]},
        {"role": "tool", "tool_call_id": "a", "content": "second"},
    ]
    assert [m["content"] for m in settled(twice) if m["role"] == "tool"] == ["first", "second"]


def test_empty_messages_and_results_of_nothing_are_left_out() -> None:
    odd: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "  "},
        {"role": "tool", "tool_call_id": "?", "content": "late"},
        {"role": "assistant", "content": "Hi.", "tool_calls": []},
    ]
    assert settled(odd) == [{"role": "assistant", "content": "Hi."}]


def test_the_history_that_was_given_is_not_changed() -> None:
    before = json.dumps(TALK)
    for llm in (OpenAILLM(KEY), AnthropicLLM(KEY), GoogleLLM(KEY)):
        body_of(llm)
    assert json.dumps(TALK) == before


def test_words_of_a_message_in_parts() -> None:
    parts = [
        {"type": "text", "text": "one "},
        {"type": "image_url"},
        {"type": "text", "text": "two"},
    ]
    assert text_of(parts) == "one two"
    assert text_of(None) == ""
    assert text_of(3) == "3"


def test_tools_nested_or_flat() -> None:
    first, second = tool_forms(TOOLS)
    assert (first.name, first.description, first.parameters) == ("get_weather", "Weather", CITY)
    assert (second.name, second.description) == ("get_time", "")
    (bare,) = tool_forms([{"name": "x", "strict": True}])
    assert bare.parameters == {"type": "object", "properties": {}}
    assert bare.strict is True


# -------------------------------------------------------------------------------------------- chat


def test_chat_request() -> None:
    body = body_of(OpenAILLM(KEY, temperature=0.2, max_tokens=50, tool_choice="auto"))
    assert body["model"] == "gpt-4o-mini"
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert body["temperature"] == 0.2
    assert body["max_completion_tokens"] == 50
    assert "max_tokens" not in body
    assert body["messages"] == settled(TALK)
    assert [tool["function"]["name"] for tool in body["tools"]] == ["get_weather", "get_time"]
    assert "strict" not in body["tools"][0]["function"]


def test_wishes_about_tools_are_left_out_where_there_are_none() -> None:
    llm = OpenAILLM(KEY, tool_choice="auto", parallel_tool_calls=False)
    body = body_of(llm, tools=None)
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(body)
    assert body_of(llm)["parallel_tool_calls"] is False


def test_servers_of_ones_own_get_the_old_name_of_the_limit() -> None:
    llm = OpenAICompatibleLLM(base_url="http://localhost:1/v1/", model="m", max_tokens=5)
    request = llm._request([USER], None, Who())
    assert request.url == "http://localhost:1/v1/chat/completions"
    assert body_of(llm)["max_tokens"] == 5


def test_groq_request() -> None:
    request = GroqLLM(KEY)._request(TALK, TOOLS, Who())
    assert request.url == "https://api.groq.com/openai/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr(request)


def test_cerebras_packs_its_requests() -> None:
    request = CerebrasLLM(KEY)._request(
        [*TALK, {"role": "user", "content": "x" * 5000}], TOOLS, Who()
    )
    assert request.headers["content-type"] == "application/vnd.msgpack"
    assert request.headers["content-encoding"] == "gzip"
    assert len(request.body) < 1500
    body = msgspec.msgpack.decode(gzip.decompress(request.body))
    assert body["model"] == "gpt-oss-120b"
    short = CerebrasLLM(KEY)._request([USER], None, Who())
    assert "content-encoding" not in short.headers
    plain = CerebrasLLM(KEY, gzip_compression=False, msgpack_encoding=False)
    assert body_of(plain)["messages"] == settled(TALK)


@pytest.mark.parametrize(
    ("name", "is_text"),
    [
        ("gpt-4o", True),
        ("gpt-4.1-mini", True),
        ("o4-mini", True),
        ("gpt-realtime-mini", False),
        ("gpt-4o-mini-realtime-preview", False),
        ("gpt-4o-audio-preview", False),
        ("gpt-4o-mini-tts", False),
        ("claude-haiku", False),
        ("", False),
    ],
)
def test_names_of_text_models(name: str, is_text: bool) -> None:
    assert is_text_model(name) is is_text


@pytest.mark.skipif(not SPECIFICATION, reason="set GETPATTER_OPENAI_SPEC to compare")
@pytest.mark.timeout(60)
def test_chat_requests_are_valid_by_the_specification() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    specification = json.loads(Path(SPECIFICATION).read_text(encoding="utf-8"))
    operation = specification["paths"]["/chat/completions"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    validator = jsonschema.Draft202012Validator({**specification, **schema})
    llm = OpenAILLM(
        KEY,
        temperature=0.2,
        max_tokens=50,
        top_p=0.9,
        stop=["."],
        seed=1,
        tool_choice="auto",
        parallel_tool_calls=False,
        frequency_penalty=0.1,
        presence_penalty=0.1,
        response_format={"type": "json_object"},
        user="caller",
    )
    for messages, tools in ((TALK, TOOLS), ([USER], None)):
        errors = [error.message for error in validator.iter_errors(body_of(llm, messages, tools))]
        assert errors == []
    assert list(validator.iter_errors({"model": 3})), "the schema does refuse things"


# --------------------------------------------------------------------------------------- anthropic


def test_anthropic_request() -> None:
    request = AnthropicLLM(KEY)._request(TALK, TOOLS, Who())
    assert request.url == "https://api.anthropic.com/v1/messages"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    body = msgspec.json.decode(request.body)
    assert body["max_tokens"] == 1024
    assert "temperature" not in body
    mark = {"type": "ephemeral"}
    assert body["system"] == [{"type": "text", "text": "Be brief.", "cache_control": mark}]
    assert "cache_control" not in body["tools"][0]
    assert body["tools"][1] == {
        "name": "get_time",
        "input_schema": {"type": "object", "properties": {}},
        "cache_control": mark,
    }
    assert [message["role"] for message in body["messages"]] == [
        "user", "assistant", "user", "assistant", "user",
    ]  # fmt: skip
    assert body["messages"][1]["content"] == [
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "a", "name": "get_weather", "input": {"city": "Oslo"}},
        {"type": "tool_use", "id": "b", "name": "get_weather", "input": {"city": "Oslo"}},
    ]
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": "cold"},
        {"type": "tool_result", "tool_use_id": "b", "content": '{"celsius": -3}'},
    ]


def test_anthropic_without_caching() -> None:
    assert "cache_control" not in json.dumps(body_of(AnthropicLLM(KEY, prompt_caching=False)))


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        ("auto", None, {"type": "auto"}),
        ("required", None, {"type": "any"}),
        ("none", False, {"type": "none"}),
        ({"type": "function", "function": {"name": "x"}}, None, {"type": "tool", "name": "x"}),
        ({"type": "tool", "name": "x"}, None, {"type": "tool", "name": "x"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", True, {"type": "any"}),
    ],
)
def test_anthropic_choice_of_tools(choice: Any, parallel: Any, sent: object) -> None:
    llm = AnthropicLLM(KEY, tool_choice=choice, parallel_tool_calls=parallel)
    assert body_of(llm)["tool_choice"] == sent
    assert "tool_choice" not in body_of(llm, tools=None)


def test_anthropic_takes_ids_of_other_vendors() -> None:
    history = [
        USER,
        {"role": "assistant", "tool_calls": [call("fc:1/ü")]},
        {"role": "tool", "tool_call_id": "fc:1/ü", "content": "cold"},
    ]
    _, asked, answered = body_of(AnthropicLLM(KEY), history)["messages"]
    assert asked["content"][0]["id"] == answered["content"][0]["tool_use_id"] == "fc_1__"


@pytest.mark.parametrize("url", ["https://proxy.example.com", "https://proxy.example.com/v1/"])
def test_anthropic_at_another_address(url: str) -> None:
    request = AnthropicLLM(KEY, base_url=url)._request([USER], None, Who())
    assert request.url == "https://proxy.example.com/v1/messages"


# ------------------------------------------------------------------------------------------ google


def test_google_request() -> None:
    llm = GoogleLLM(KEY, temperature=0.1, max_output_tokens=64, stop="x", tool_choice="required")
    request = llm._request(TALK, TOOLS, Who())
    assert request.url == (
        "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"
        ":streamGenerateContent?alt=sse"
    )
    assert request.headers["x-goog-api-key"] == KEY
    body = msgspec.json.decode(request.body)
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
    assert body["generationConfig"] == {
        "temperature": 0.1,
        "maxOutputTokens": 64,
        "stopSequences": ["x"],
        "thinkingConfig": {"thinkingBudget": 0},
    }
    declared = body["tools"][0]["functionDeclarations"]
    assert [tool["name"] for tool in declared] == ["get_weather", "get_time"]
    assert declared[0]["parametersJsonSchema"] == CITY
    assert [content["role"] for content in body["contents"]] == [
        "user", "model", "user", "model", "user",
    ]  # fmt: skip
    assert body["contents"][2]["parts"] == [
        {"functionResponse": {"id": "a", "name": "get_weather", "response": {"result": "cold"}}},
        {"functionResponse": {"id": "b", "name": "get_weather", "response": {"celsius": -3}}},
    ]


@pytest.mark.parametrize(
    ("model", "wanted", "sent"),
    [
        ("gemini-2.5-flash-lite", None, {"thinkingBudget": 0}),
        ("gemini-2.5-flash", 512, {"thinkingBudget": 512}),
        ("gemini-2.5-pro", None, None),
    ],
)
def test_google_thinking(model: str, wanted: Any, sent: object) -> None:
    body = body_of(GoogleLLM(KEY, model=model, thinking_budget=wanted))
    assert body.get("generationConfig", {}).get("thinkingConfig") == sent


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ({"type": "json_object"}, {"responseMimeType": "application/json"}),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "schema": CITY}},
            {"responseMimeType": "application/json", "responseJsonSchema": CITY},
        ),
        ({"type": "text"}, {}),
    ],
)
def test_google_response_format(wanted: Any, sent: object) -> None:
    body = body_of(GoogleLLM(KEY, model="gemini-2.5-pro", response_format=wanted))
    assert body.get("generationConfig", {}) == sent


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        (
            {"type": "function", "function": {"name": "x"}},
            {"mode": "ANY", "allowedFunctionNames": ["x"]},
        ),
    ],
)
def test_google_choice_of_tools(choice: Any, sent: object) -> None:
    body = body_of(GoogleLLM(KEY, tool_choice=choice))
    assert body["toolConfig"] == {"functionCallingConfig": sent}


def test_google_in_a_project(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION", "GOOGLE_GENAI_USE_VERTEXAI"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match="project and location"):
        GoogleLLM(KEY, vertexai=True, project="p")
    place = "projects/p/locations/europe-west1/publishers/google/models/gemini-2.5-flash"
    asked = f"{place}:streamGenerateContent?alt=sse"
    llm = GoogleLLM(KEY, vertexai=True, project="p", location="europe-west1")
    assert llm._request([USER], None, Who()).url == (
        f"https://europe-west1-aiplatform.googleapis.com/v1/{asked}"
    )
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "global")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    assert (
        GoogleLLM(KEY)
        ._request([USER], None, Who())
        .url.startswith("https://aiplatform.googleapis.com/v1/projects/p/locations/global/")
    )


# ----------------------------------------------------------------------- who begins, and who ends


@pytest.mark.parametrize("llm", [AnthropicLLM(KEY), GoogleLLM(KEY)], ids=["anthropic", "google"])
def test_the_caller_begins_and_ends(llm: Model) -> None:
    greeted = [SYSTEM, {"role": "assistant", "content": "Hello?"}]
    sent = json.dumps(body_of(llm, greeted))
    assert OPENING in sent
    assert SILENCE in sent
    alone = json.dumps(body_of(llm, [SYSTEM]))
    assert OPENING in alone
    assert SILENCE not in alone
    usual = json.dumps(body_of(llm))
    assert OPENING not in usual
    assert SILENCE not in usual
