"""A chain of models: who answers when one fails, who is told, who is billed, who comes back."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from getpatter import (
    AllProvidersFailedError,
    AnthropicLLM,
    FallbackLLMProvider,
    OpenAILLM,
    PartialStreamError,
)
from getpatter.llm.base import LLMChunk
from getpatter.testing.fake_llm import Says
from getpatter.testing.fake_llm_anthropic import FakeAnthropic
from getpatter.testing.fake_llm_chat import FakeOpenAI

ASKED = [{"role": "user", "content": "Hello"}]


@dataclass
class Chain:
    first: FakeOpenAI
    second: FakeAnthropic
    llm: FallbackLLMProvider

    async def ask(self, llm: FallbackLLMProvider | None = None) -> str:
        chunks = [chunk async for chunk in (llm or self.llm).stream(ASKED)]
        assert chunks[-1].type == "done"
        return "".join(chunk.content for chunk in chunks)


@asynccontextmanager
async def chain(*, retries: int = 1, interval_s: float = 30.0) -> AsyncIterator[Chain]:
    async with FakeOpenAI() as first, FakeAnthropic() as second:
        llm = FallbackLLMProvider(
            [
                OpenAILLM(first.key, base_url=first.base_url, timeout=0.3),
                AnthropicLLM(second.key, base_url=second.base_url),
            ],
            max_retry_per_provider=retries,
            recovery_interval_s=interval_s,
        )
        yield Chain(first, second, llm)
        await llm.close()


async def test_the_first_one_answers_while_it_is_well() -> None:
    async with chain() as it:
        it.first.script = [Says("First.")]
        assert await it.ask() == "First."
        assert (it.llm.provider_key, it.llm.model) == ("openai", "gpt-4o-mini")
        assert not it.second.calls


async def test_a_failure_that_may_pass_is_tried_again_before_the_next_one() -> None:
    async with chain() as it:
        it.first.refusals = [it.first.refused(500, "Sorry")]
        it.first.script = [Says("First.")]
        assert await it.ask() == "First."
        assert len(it.first.calls) == 2


async def test_the_next_one_answers_and_is_billed() -> None:
    async with chain() as it:
        it.first.refusals = [it.first.refused(429, "Slow down")] * 2
        it.second.script = [Says("Second.")]
        assert await it.ask() == "Second."
        assert len(it.first.calls) == 2
        assert (it.llm.provider_key, it.llm.model) == ("anthropic", "claude-haiku-4-5-20251001")
        it.second.script = [Says("Second again.")]
        assert await it.ask() == "Second again."
        assert len(it.first.calls) == 2, "one that failed is not asked first"


async def test_a_wrong_key_is_not_tried_twice() -> None:
    async with chain() as it:
        it.first.refusals = [it.first.refused(401, "Wrong key")] * 2
        await it.ask()
        assert len(it.first.calls) == 1


async def test_no_word_in_time_is_a_failure() -> None:
    async with chain(retries=0) as it:
        it.first.script = [Says("Hm", stalls_after=0)]
        it.second.script = [Says("Second.")]
        assert await it.ask() == "Second."


async def test_after_the_first_word_nobody_can_take_over() -> None:
    async with chain() as it:
        it.first.script = [Says("One two three.", drops_after=1)]
        said: list[str] = []

        async def listen() -> None:
            async for chunk in it.llm.stream(ASKED):
                said.append(chunk.content)  # noqa: PERF401 - what came before the failure counts

        with pytest.raises(PartialStreamError) as caught:
            await listen()
        assert said == ["One "]
        assert caught.value.vendor == "openai"
        assert not it.second.calls


async def test_a_tool_call_counts_as_a_word() -> None:
    class Halfway:
        async def stream(
            self, messages: Sequence[Mapping[str, object]], tools: object = None
        ) -> AsyncIterator[dict[str, object]]:
            yield {"type": "tool_call", "index": 0, "id": "c1", "name": "book", "arguments": "{}"}
            raise ConnectionResetError

    llm = FallbackLLMProvider([Halfway(), Halfway()])
    with pytest.raises(PartialStreamError):
        [chunk async for chunk in llm.stream(ASKED)]
    await llm.close()


async def test_none_is_left() -> None:
    async with chain(retries=0) as it:
        it.first.refusals = [it.first.refused(500, "Sorry")]
        it.second.refusals = [it.second.refused(529, "Overloaded")]
        with pytest.raises(
            AllProvidersFailedError, match=r"openai.* answered 500.*anthropic.* answered 529"
        ):
            await it.ask()
        it.first.script = [Says("Back.")]
        assert await it.ask() == "Back.", "when all have failed, all are tried"


async def test_one_that_failed_is_tried_in_the_background_and_comes_back() -> None:
    async with chain(retries=0, interval_s=0.02) as it:
        it.first.refusals = [it.first.refused(500, "Sorry")] * 2
        assert await it.ask() == "You said: Hello"
        while it.llm.clone().provider_key != "openai":
            await asyncio.sleep(0.01)
        asked = len(it.second.bodies)
        await it.ask()
        assert len(it.second.bodies) == asked


async def test_calls_know_of_each_others_failures_but_not_of_their_answers() -> None:
    async with chain(retries=0) as it:
        one, two = it.llm.clone(), it.llm.clone()
        it.first.refusals = [it.first.refused(500, "Sorry")]
        await it.ask(one)
        assert one.provider_key == "anthropic"
        await it.ask(two)
        assert len(it.first.calls) == 1
        await one.close()
        await it.ask(two)


async def test_cancelling_ends_the_answer_of_the_model() -> None:
    async with chain() as it:
        it.first.script = [Says("One two.", stalls_after=1)]
        answer = it.llm.stream(ASKED)
        assert (await anext(answer)).content == "One "
        await answer.aclose()
        await asyncio.wait_for(it.first.hung_up.wait(), 5)
        assert not it.second.calls


async def test_models_of_your_own_take_part() -> None:
    class Broken:
        async def stream(
            self, messages: Sequence[Mapping[str, object]], tools: object = None
        ) -> AsyncIterator[dict[str, object]]:
            if messages:
                raise RuntimeError("secret-0123456789")
            yield {}

    class Plain:
        async def stream(
            self, messages: Sequence[Mapping[str, object]], tools: object = None
        ) -> AsyncIterator[dict[str, object]]:
            yield {"type": "text", "content": "Mine."}
            yield {"type": "done"}

    llm = FallbackLLMProvider([Broken(), Plain()])
    chunks = [chunk async for chunk in llm.stream(ASKED)]
    assert chunks == [LLMChunk("text", content="Mine."), LLMChunk("done")]
    assert llm.provider_key == "Plain"
    await llm.close()
    alone = FallbackLLMProvider([Broken()])
    with pytest.raises(AllProvidersFailedError) as caught:
        [chunk async for chunk in alone.stream(ASKED)]
    assert "secret" not in str(caught.value)
    await alone.close()


async def test_warmup_opens_the_connections_of_all() -> None:
    async with chain() as it:
        await it.llm.warmup()
        assert (it.first.connections, it.second.connections) == (1, 1)


def test_what_cannot_be() -> None:
    llm = OpenAILLM("key-0123456789")
    with pytest.raises(ValueError, match="at least one"):
        FallbackLLMProvider([])
    with pytest.raises(TypeError, match="no stream"):
        FallbackLLMProvider([object()])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="max_retry_per_provider"):
        FallbackLLMProvider([llm], max_retry_per_provider=-1)
    with pytest.raises(ValueError, match="recovery_interval_s"):
        FallbackLLMProvider([llm], recovery_interval_s=0)


def test_it_can_be_shown_and_pickled_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = FallbackLLMProvider([OpenAILLM("key-0123456789")], recovery_interval_s=5)
    assert "key-0123456789" not in repr(llm)
    stored = pickle.dumps(llm)
    assert b"key-0123456789" not in stored
    monkeypatch.setenv("OPENAI_API_KEY", "another-key-0123")
    again = pickle.loads(stored)
    assert repr(again) == repr(llm)
