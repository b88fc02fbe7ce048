"""What one vendor's model does that no other does."""

from __future__ import annotations

import asyncio

import pytest

from getpatter import (
    AnthropicLLM,
    AuthenticationError,
    CerebrasLLM,
    GoogleLLM,
    OpenAICompatibleLLM,
    PatterConnectionError,
    RateLimitError,
    hash_caller,
)
from getpatter.llm.base import LLMChunk
from getpatter.llm.google import _MOST_SIGNATURES, Signatures
from getpatter.testing.fake_llm import Calls, FakeLLM, Says
from getpatter.testing.fake_llm_anthropic import FakeAnthropic
from getpatter.testing.fake_llm_chat import FakeCerebras, FakeServer
from getpatter.testing.fake_llm_google import FakeGemini

ASKED = [{"role": "user", "content": "Hello"}]
LONG = [{"role": "user", "content": "Hello " * 500}]
TOOL = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}


async def said(llm: object, messages: object = ASKED, tools: object = None) -> str:
    chunks = [chunk async for chunk in llm.stream(messages, tools)]  # type: ignore[attr-defined]
    return "".join(chunk.content for chunk in chunks)


# ---------------------------------------------------------------------------------------- cerebras


async def test_cerebras_packs_until_the_server_refuses_it() -> None:
    async with FakeCerebras([Says("Packed.")]) as service:
        llm = CerebrasLLM(service.key, base_url=service.base_url)
        assert await said(llm, LONG) == "Packed."
        assert service.calls[0].headers["content-encoding"] == "gzip"
        service.takes_packed = False
        service.script = [Says("Plain."), Says("Plain again.")]
        assert await said(llm, LONG) == "Plain."
        assert [call.headers["content-type"] for call in service.calls] == [
            "application/vnd.msgpack", "application/vnd.msgpack", "application/json",
        ]  # fmt: skip
        assert await said(llm, LONG) == "Plain again."
        assert len(service.calls) == 4, "it does not try again to pack"
        await llm.close()


async def test_cerebras_names_the_models_that_there_are() -> None:
    async with FakeCerebras() as service:
        llm = CerebrasLLM(service.key, base_url=service.base_url, model="gpt-oss-1")
        with pytest.raises(
            PatterConnectionError, match=r"does not exist.*gpt-oss-120b, llama3"
        ) as it:
            await said(llm)
        assert (it.value.status, it.value.retryable) == (404, False)
        await llm.close()


async def test_cerebras_waits_as_long_as_it_is_told() -> None:
    async with FakeCerebras([Says("Here.")]) as service:
        llm = CerebrasLLM(service.key, base_url=service.base_url)
        busy = service.refused(429, "Too many")
        service.refusals = [type(busy)(429, busy.body, {"retry-after": "0"})]
        assert await said(llm) == "Here."
        assert len(service.calls) == 2
        service.refusals = [type(busy)(429, busy.body, {"retry-after": "600"})]
        with pytest.raises(RateLimitError):
            await said(llm)
        assert len(service.calls) == 3, "ten minutes are longer than a caller waits"
        await llm.close()


# ------------------------------------------------------------------------------------------ google


async def round_trip(service: FakeLLM, llm: GoogleLLM, *, strangers: bool = False) -> str:
    service.script = [Says(calls=[Calls("get_weather", {"city": "Oslo"}), Calls("get_weather")])]
    chunks = [chunk async for chunk in llm.stream(ASKED, [TOOL])]
    calls = [chunk for chunk in chunks if chunk.type == "tool_call"]
    history = [
        *ASKED,
        {"role": "assistant", "tool_calls": [_spoken(chunk) for chunk in calls]},
        *({"role": "tool", "tool_call_id": chunk.id, "content": "cold"} for chunk in calls),
    ]
    service.script = [Says("It is cold.")]
    asking = llm.clone() if not strangers else GoogleLLM(service.key, base_url=service.base_url)
    try:
        return await said(asking, history, [TOOL])
    finally:
        await asking.close()


def _spoken(chunk: LLMChunk) -> dict[str, object]:
    function = {"name": chunk.name, "arguments": chunk.arguments}
    return {"id": chunk.id, "type": "function", "function": function}


async def test_google_gets_its_signatures_back_in_the_same_call() -> None:
    async with FakeGemini() as service:
        llm = GoogleLLM(service.key, base_url=service.base_url)
        assert await round_trip(service, llm) == "It is cold."
        parts = service.bodies[1]["contents"][1]["parts"]  # type: ignore[index]
        assert all(part["thoughtSignature"] for part in parts)
        await llm.close()


async def test_google_without_them_is_refused() -> None:
    async with FakeGemini() as service:
        llm = GoogleLLM(service.key, base_url=service.base_url)
        with pytest.raises(PatterConnectionError, match="thought_signature"):
            await round_trip(service, llm, strangers=True)
        await llm.close()


def test_the_oldest_signatures_are_forgotten() -> None:
    kept = Signatures()
    for number in range(_MOST_SIGNATURES + 1):
        kept.keep(str(number), "sealed")
    assert kept.of("0") == ""
    assert kept.of(str(_MOST_SIGNATURES)) == "sealed"


async def test_google_thoughts_are_not_spoken() -> None:
    async with FakeGemini([Says("Hello.")]) as service:
        llm = GoogleLLM(service.key, base_url=service.base_url)
        assert await said(llm) == "Hello."
        await llm.close()


async def test_google_calls_a_wrong_key_a_bad_request() -> None:
    async with FakeGemini() as service:
        llm = GoogleLLM("wrong-key-0123456789", base_url=service.base_url)
        with pytest.raises(AuthenticationError, match="API key not valid") as caught:
            await said(llm)
        assert caught.value.status == 400
        await llm.close()


# --------------------------------------------------------------------------------------- anthropic


async def test_anthropic_reports_the_id_of_a_request() -> None:
    async with FakeAnthropic([Says("One two.", error_after=1)]) as service:
        llm = AnthropicLLM(service.key, base_url=service.base_url)
        with pytest.raises(PatterConnectionError, match="Overloaded") as caught:
            await said(llm)
        assert (caught.value.status, caught.value.request_id) == (529, "req_0123abcd")
        service.refusals = [service.refused(429, "Slow down")]
        with pytest.raises(RateLimitError) as limited:
            await said(llm)
        assert limited.value.request_id == "req_0123abcd"
        await llm.close()


# -------------------------------------------------------------------------- servers of one's own


async def test_a_server_of_ones_own_needs_no_key() -> None:
    async with FakeServer([Says("Mine.")]) as service:
        llm = OpenAICompatibleLLM(base_url=service.base_url, model="m", extra_headers={"x-a": "b"})
        assert await said(llm) == "Mine."
        assert "authorization" not in service.calls[0].headers
        assert service.calls[0].headers["x-a"] == "b"
        await llm.close()


async def test_a_key_is_not_sent_to_where_a_server_redirects() -> None:
    async with FakeServer() as service, FakeServer() as elsewhere:
        moved = service.refused(400, "moved")
        service.refusals = [type(moved)(307, b"", {"location": elsewhere.base_url})]
        llm = OpenAICompatibleLLM(service.key, base_url=service.base_url, model="m")
        with pytest.raises(PatterConnectionError) as caught:
            await said(llm)
        assert caught.value.status == 307
        assert not elsewhere.calls
        await llm.close()


async def test_one_object_serves_one_loop_after_the_other() -> None:
    async with FakeServer() as service:
        llm = OpenAICompatibleLLM(base_url=service.base_url, model="m")
        assert await said(llm) == "You said: Hello"
        await llm.close()

        def elsewhere() -> str:
            async def ask() -> str:
                try:
                    return await said(llm)
                finally:
                    await llm.close()

            return asyncio.run(ask())

        assert await asyncio.to_thread(elsewhere) == "You said: Hello"


async def test_a_server_that_remembers_is_told_whose_call_it_is() -> None:
    async with FakeServer() as service:
        llm = OpenAICompatibleLLM(
            base_url=service.base_url,
            model="m",
            session_user_prefix="call-",
            session_key_header="x-memory",
            session_key_from="caller",
        )
        answer = llm.stream(ASKED, call_id="CA1", caller="+15550001234")
        assert [chunk.type async for chunk in answer][-1] == "done"
        assert service.bodies[0]["user"] == "call-CA1"
        assert service.calls[0].headers["x-memory"] == hash_caller("+15550001234")
        await llm.close()
