"""The fake services are what they say they are: the official client of each vendor is content with them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import pytest

from getpatter.testing.fake_llm import Calls, FakeLLM, Says
from getpatter.testing.fake_llm_anthropic import FakeAnthropic
from getpatter.testing.fake_llm_chat import FakeCerebras, FakeGroq, FakeOpenAI
from getpatter.testing.fake_llm_google import FakeGemini

PARAMETERS: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
FUNCTION: Final = {"name": "get_weather", "description": "Weather", "parameters": PARAMETERS}
WEATHER: Final = Says(
    "One moment.",
    calls=[Calls("get_weather", {"city": "Oslo"}), Calls("get_weather", {"city": "Zürich"})],
)
HELLO: Final = {"role": "user", "content": "Hello"}

openai = pytest.importorskip("openai")
anthropic = pytest.importorskip("anthropic")
groq = pytest.importorskip("groq")
cerebras = pytest.importorskip("cerebras.cloud.sdk")

CHAT: Final[dict[str, tuple[type[FakeOpenAI], Any, Any, str]]] = {
    "openai": (FakeOpenAI, openai.AsyncOpenAI, openai, "gpt-4o-mini"),
    "groq": (FakeGroq, groq.AsyncGroq, groq, "llama-3.3-70b-versatile"),
    "cerebras": (FakeCerebras, cerebras.AsyncCerebras, cerebras, "gpt-oss-120b"),
}


@asynccontextmanager
async def chatting(vendor: str, *script: Says, key: str = "") -> AsyncIterator[tuple[Any, FakeLLM]]:
    kind, client_of, _, _ = CHAT[vendor]
    async with kind(script) as service:
        # Theirs add the path of the version themselves, except one.
        url = service.base_url if vendor == "openai" else service.url
        own = {"warm_tcp_connection": False} if vendor == "cerebras" else {}
        async with client_of(
            api_key=key or service.key, base_url=url, max_retries=0, **own
        ) as client:
            yield client, service


def asked(vendor: str, **more: object) -> dict[str, Any]:
    return {"model": CHAT[vendor][3], "messages": [HELLO], "stream": True, **more}


@pytest.mark.parametrize("vendor", CHAT)
async def test_chat_text(vendor: str) -> None:
    async with chatting(vendor, Says("It is cold in Zürich.")) as (client, _):
        # One client does not know the option, and its vendor reports the tokens anyway.
        more = {} if vendor == "groq" else {"stream_options": {"include_usage": True}}
        stream = await client.chat.completions.create(**asked(vendor, **more))
        chunks = [chunk async for chunk in stream]
    said = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices or ()]
    assert "".join(said) == "It is cold in Zürich."
    if vendor == "groq":
        assert chunks[-1].x_groq.usage.completion_tokens == 9
    else:
        assert chunks[-1].usage.prompt_tokens == 28
        assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 8


@pytest.mark.parametrize("vendor", CHAT)
async def test_chat_tools(vendor: str) -> None:
    tools = [{"type": "function", "function": FUNCTION}]
    async with chatting(vendor, WEATHER) as (client, _):
        stream = await client.chat.completions.create(**asked(vendor, tools=tools))
        found: dict[int, list[str]] = {}
        async for chunk in stream:
            for choice in chunk.choices or ():
                for part in choice.delta.tool_calls or ():
                    call = found.setdefault(part.index, ["", ""])
                    call[0] += part.function.name or ""
                    call[1] += part.function.arguments or ""
    assert found == {
        0: ["get_weather", '{"city":"Oslo"}'],
        1: ["get_weather", '{"city":"Zürich"}'],
    }


@pytest.mark.parametrize("vendor", CHAT)
async def test_chat_refusals(vendor: str) -> None:
    errors = CHAT[vendor][2]
    async with chatting(vendor, key="wrong-key-0123") as (client, _):
        with pytest.raises(errors.AuthenticationError, match="Incorrect API key"):
            await client.chat.completions.create(**asked(vendor))
    async with chatting(vendor) as (client, service):
        service.refusals = [service.refused(429, "Slow down")]
        with pytest.raises(errors.RateLimitError, match="Slow down") as caught:
            await client.chat.completions.create(**asked(vendor))
        assert caught.value.response.headers["retry-after"] == "1"


@pytest.mark.parametrize("vendor", ["openai", "groq"])
async def test_chat_failure_inside_the_answer(vendor: str) -> None:
    errors = CHAT[vendor][2]
    async with chatting(vendor, Says("One two", error_after=1)) as (client, _):
        stream = await client.chat.completions.create(**asked(vendor))
        with pytest.raises(errors.APIError):
            [chunk async for chunk in stream]
        await stream._iterator.aclose()  # which one of the clients leaves to the collector
        await stream.response.aclose()


@asynccontextmanager
async def messaging(*script: Says, key: str = "") -> AsyncIterator[tuple[Any, FakeLLM]]:
    async with FakeAnthropic(script) as service:
        client = anthropic.AsyncAnthropic(
            api_key=key or service.key, base_url=service.base_url, max_retries=0
        )
        async with client:
            yield client, service


ASKED: Final[dict[str, Any]] = {
    "model": "claude-haiku-4-5-20251001",
    "max_tokens": 100,
    "messages": [HELLO],
}


async def test_anthropic_text_and_tools() -> None:
    tool = {"name": "get_weather", "description": "Weather", "input_schema": PARAMETERS}
    async with (
        messaging(WEATHER) as (client, _),
        client.messages.stream(**ASKED, tools=[tool]) as stream,
    ):
        message = await stream.get_final_message()
    text, first, second = message.content
    assert text.text == "One moment."
    assert (first.name, first.input) == ("get_weather", {"city": "Oslo"})
    assert second.input == {"city": "Zürich"}
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (20, 8)
    assert message.usage.output_tokens == 9


async def test_anthropic_failures() -> None:
    async with messaging(key="wrong") as (client, _):
        with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
            await client.messages.create(**ASKED)
    async with messaging(Says("One two", error_after=1)) as (client, service):
        async with client.messages.stream(**ASKED) as stream:
            with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
                await stream.get_final_message()
        service.refusals = [service.refused(429, "Slow down")]
        with pytest.raises(anthropic.RateLimitError) as caught:
            await client.messages.create(**ASKED)
        assert caught.value.request_id == "req_0123abcd"


@asynccontextmanager
async def generating(*script: Says, key: str = "") -> AsyncIterator[tuple[Any, FakeLLM]]:
    genai = pytest.importorskip("google.genai")
    async with FakeGemini(script) as service, httpx.AsyncClient() as http:
        client = genai.Client(
            api_key=key or service.key,
            http_options={"base_url": service.base_url, "httpx_async_client": http},
        )
        yield client.aio.models, service


async def listen(models: Any) -> None:
    stream = await models.generate_content_stream(model="gemini-2.5-flash", contents="Hello")
    async for _ in stream:
        pass


async def test_google_text_and_tools() -> None:
    config = {
        "tools": [
            {
                "function_declarations": [
                    {
                        "name": "get_weather",
                        "description": "Weather",
                        "parameters_json_schema": PARAMETERS,
                    }
                ]
            }
        ],
        "automatic_function_calling": {"disable": True},
    }
    async with generating(WEATHER) as (models, service):
        stream = await models.generate_content_stream(
            model="gemini-2.5-flash", contents="Hello", config=config
        )
        chunks = [chunk async for chunk in stream]
        declared = service.bodies[0]["tools"]
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or ()]
    assert "".join(p.text for p in parts if p.text and not p.thought) == "One moment."
    calls = [part.function_call for part in parts if part.function_call]
    assert [(call.name, call.args) for call in calls] == [
        ("get_weather", {"city": "Oslo"}),
        ("get_weather", {"city": "Zürich"}),
    ]
    assert all(part.thought_signature for part in parts if part.function_call)
    usage = chunks[-1].usage_metadata
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (28, 8)
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (7, 2)
    # Theirs writes `parameters_json_schema`; protobuf's JSON takes either spelling.
    assert "get_weather" in str(declared)
    assert "json_schema" in str(declared)


async def test_google_refusals() -> None:
    genai_errors = pytest.importorskip("google.genai.errors")
    async with generating(key="wrong") as (models, _):
        with pytest.raises(genai_errors.ClientError, match="API key not valid"):
            await listen(models)
    async with generating(Says("One two")) as (models, service):
        service.refusals = [service.refused(429, "Slow down")]
        with pytest.raises(genai_errors.ClientError, match="RESOURCE_EXHAUSTED"):
            await listen(models)
