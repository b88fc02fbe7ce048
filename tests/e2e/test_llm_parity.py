"""Every language model goes through the same conversations, over real sockets with the fake of its vendor."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from typing import Final

import pytest

from getpatter.errors import (
    AuthenticationError,
    ErrorCode,
    PatterConnectionError,
    PatterError,
    RateLimitError,
)
from getpatter.llm._model import Model
from getpatter.llm.base import LLMChunk, LLMProvider
from getpatter.testing.fake_llm import Calls, FakeLLM, Says
from tests.support.llm_vendors import WITH_PACKAGES, Vendor

WEATHER: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CLOCK: Final = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "The time",
        "parameters": {"type": "object", "properties": {}},
    },
}
ASKED: Final = [
    {"role": "system", "content": "You are on the phone."},
    {"role": "user", "content": "Weather in Oslo?"},
]


class Pair:
    """A model and the service that it talks to."""

    def __init__(self, vendor: Vendor, service: FakeLLM) -> None:
        self.vendor = vendor
        self.service = service
        self.llm = self.make()

    def make(self, *, key: str = "", timeout: float = 15.0) -> Model:
        return self.vendor.llm(key or self.service.key, self.service.base_url, timeout)

    async def ask(
        self, *script: Says, messages: object = ASKED, tools: object = None
    ) -> list[LLMChunk]:
        self.service.script = list(script)
        return [chunk async for chunk in self.llm.stream(messages, tools)]  # type: ignore[arg-type]

    async def fails(self, *script: Says) -> tuple[PatterError, list[LLMChunk]]:
        self.service.script = list(script)
        said: list[LLMChunk] = []
        try:
            async for chunk in self.llm.stream(ASKED):
                said.append(chunk)  # noqa: PERF401 - what came before the failure counts
        except PatterError as error:
            return error, said
        pytest.fail(f"no failure after {said}")


@pytest.fixture(params=WITH_PACKAGES, ids=lambda vendor: vendor.name)
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    vendor: Vendor = request.param
    async with vendor.service(()) as service:
        pair = Pair(vendor, service)
        yield pair
        await pair.llm.close()


def not_hidden(pair: Pair) -> None:
    """For what a vendor's wire shows and a package in between does not."""
    if pair.vendor.is_package:
        pytest.skip("the package ends cut answers as if they were whole, and connects as it likes")


def text_of(chunks: list[LLMChunk]) -> str:
    return "".join(chunk.content for chunk in chunks if chunk.type == "text")


async def test_a_reply_is_text_then_usage_then_done(pair: Pair) -> None:
    chunks = await pair.ask(Says("It is cold in Oslo."))
    assert text_of(chunks) == "It is cold in Oslo."
    assert [chunk.type for chunk in chunks] == ["text"] * 5 + ["usage", "done"]
    usage = chunks[-2]
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens) == (20, 8, 9)


async def test_a_long_reply_with_all_kinds_of_letters(pair: Pair) -> None:
    text = "Grüße aus Zürich, 東京 und Ελλάδα 🎉\n" * 400
    assert text_of(await pair.ask(Says(text))) == text


async def test_a_tool_call_comes_whole(pair: Pair) -> None:
    chunks = await pair.ask(
        Says("One moment.", calls=[Calls("get_weather", {"city": "São Paulo"})]),
        tools=[WEATHER, CLOCK],
    )
    assert text_of(chunks) == "One moment."
    (call,) = (chunk for chunk in chunks if chunk.type == "tool_call")
    assert (call.index, call.name, call.arguments) == (0, "get_weather", '{"city":"São Paulo"}')
    assert call.id
    assert chunks[-1].type == "done"


async def test_two_tools_at_once_one_without_arguments(pair: Pair) -> None:
    chunks = await pair.ask(
        Says(calls=[Calls("get_weather", {"city": "Oslo"}), Calls("get_time")]),
        tools=[WEATHER, CLOCK],
    )
    first, second = (chunk for chunk in chunks if chunk.type == "tool_call")
    assert (first.index, first.name, first.arguments) == (0, "get_weather", '{"city":"Oslo"}')
    assert (second.index, second.name, second.arguments) == (1, "get_time", "{}")
    assert first.id != second.id


async def test_the_results_of_tools_are_understood(pair: Pair) -> None:
    first = await pair.ask(Says(calls=[Calls("get_weather", {"city": "Oslo"})]), tools=[WEATHER])
    (call,) = (chunk for chunk in first if chunk.type == "tool_call")
    spoken = {"name": call.name, "arguments": call.arguments}
    history = [
        *ASKED,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": call.id, "type": "function", "function": spoken}],
        },
        {"role": "tool", "tool_call_id": call.id, "content": "-3 C"},
    ]
    assert (
        text_of(await pair.ask(Says("Minus three."), messages=history, tools=[WEATHER]))
        == "Minus three."
    )
    assert "-3 C" in str(pair.service.bodies[-1])


async def test_histories_that_an_interruption_left_behind_are_taken(pair: Pair) -> None:
    cut = {
        "id": "call_9",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"ci'},
    }
    history = [
        ASKED[0],
        {"role": "assistant", "content": "Hello, how can I help?"},
        ASKED[1],
        {"role": "assistant", "content": "", "tool_calls": [cut]},
        {"role": "user", "content": "Wait."},
        {"role": "tool", "tool_call_id": "call_unknown", "content": "late"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "Are you there?"},
    ]
    assert text_of(await pair.ask(messages=history, tools=[WEATHER])) == "You said: Are you there?"
    assert "interrupted" in str(pair.service.bodies[-1])
    assert "late" not in str(pair.service.bodies[-1])


async def test_the_agent_may_speak_unasked(pair: Pair) -> None:
    greeted = [ASKED[0], {"role": "assistant", "content": "Hello?"}]
    assert (
        text_of(await pair.ask(Says("Is anybody there?"), messages=greeted)) == "Is anybody there?"
    )
    assert text_of(await pair.ask(Says("Hello."), messages=[ASKED[0]])) == "Hello."


async def test_a_slow_start_is_waited_for(pair: Pair) -> None:
    pair.service.hold.clear()
    asyncio.get_running_loop().call_later(0.05, pair.service.hold.set)
    assert text_of(await pair.ask(Says("Sorry, I was thinking."))) == "Sorry, I was thinking."


async def test_no_word_in_time_is_a_failure_although_the_connection_lives(pair: Pair) -> None:
    llm = pair.make(timeout=0.2)
    pair.service.script = [Says("Hello.", stalls_after=0)]
    with pytest.raises(PatterConnectionError, match="did not begin to answer within") as caught:
        [chunk async for chunk in llm.stream(ASKED)]
    assert caught.value.code is ErrorCode.TIMEOUT
    assert (caught.value.vendor, caught.value.retryable) == (pair.vendor.name, True)
    await asyncio.wait_for(pair.service.hung_up.wait(), 5)


async def test_silence_in_the_middle_is_a_failure(pair: Pair) -> None:
    pair.llm = pair.make(timeout=0.2)
    error, said = await pair.fails(Says("Hello there.", stalls_after=1))
    assert text_of(said) == "Hello "
    assert "stopped in the middle" in str(error)


async def test_a_connection_that_drops_in_mid_word(pair: Pair) -> None:
    error, said = await pair.fails(Says("One two three four.", drops_after=2))
    assert text_of(said) == "One two "
    assert isinstance(error, PatterConnectionError)
    assert (error.vendor, error.retryable) == (pair.vendor.name, True)


async def test_an_answer_without_its_end_is_a_failure(pair: Pair) -> None:
    not_hidden(pair)
    error, said = await pair.fails(Says("One two three four.", ends_after=2))
    assert text_of(said) == "One two "
    assert "broke off" in str(error)
    assert not any(chunk.type == "done" for chunk in said)


async def test_a_tool_call_that_broke_off_is_never_seen(pair: Pair) -> None:
    not_hidden(pair)
    error, said = await pair.fails(Says("Hm", calls=[Calls("get_time")], ends_after=1))
    assert isinstance(error, PatterConnectionError)
    assert [chunk.type for chunk in said] == ["text"]


async def test_a_failure_that_is_reported_inside_the_answer(pair: Pair) -> None:
    error, said = await pair.fails(Says("One two three.", error_after=1))
    assert text_of(said) == "One "
    assert isinstance(error, PatterConnectionError)
    assert (error.vendor, error.retryable) == (pair.vendor.name, True)
    assert error.status is not None
    assert error.status >= 500


async def test_an_answer_that_is_withheld_is_a_failure_and_not_silence(pair: Pair) -> None:
    error, said = await pair.fails(Says("", is_withheld=True))
    assert said == []
    assert isinstance(error, PatterConnectionError)
    assert not error.retryable
    assert "no answer" in str(error)


async def test_a_wrong_key_is_refused_and_not_shown(pair: Pair) -> None:
    wrong = "wrong-key-abcdef0123456789"
    llm = pair.make(key=wrong)
    with pytest.raises(AuthenticationError) as caught:
        [chunk async for chunk in llm.stream(ASKED)]
    error = caught.value
    assert error.vendor == pair.vendor.name
    assert not error.retryable
    assert wrong not in str(error)
    assert wrong not in repr(error)
    await llm.close()


async def test_a_rate_limit(pair: Pair) -> None:
    pair.service.refusals = [pair.service.refused(429, "Slow down.")] * 3
    error, _ = await pair.fails()
    assert isinstance(error, RateLimitError)
    assert (error.vendor, error.status, error.retryable) == (pair.vendor.name, 429, True)
    assert "Slow down." in str(error)


async def test_a_server_that_is_overloaded(pair: Pair) -> None:
    pair.service.refusals = [pair.service.refused(500, "Overloaded.")] * 3
    error, _ = await pair.fails()
    assert isinstance(error, PatterConnectionError)
    assert (error.status, error.retryable) == (500, True)


async def test_nobody_there(pair: Pair) -> None:
    llm = pair.vendor.llm("key-0123456789", "http://127.0.0.1:9/v1", 1.0)
    with pytest.raises(PatterConnectionError) as caught:
        [chunk async for chunk in llm.stream(ASKED)]
    assert caught.value.vendor == pair.vendor.name
    await llm.close()


async def test_closing_the_iterator_hangs_up(pair: Pair) -> None:
    pair.service.script = [Says("One two three.", stalls_after=1)]
    answer = pair.llm.stream(ASKED)
    first = await anext(answer)
    assert first.content == "One "
    await answer.aclose()
    await asyncio.wait_for(pair.service.hung_up.wait(), 5)


async def test_cancelling_the_task_hangs_up(pair: Pair) -> None:
    pair.service.script = [Says("One two three.", stalls_after=1)]

    async def listen() -> None:
        async for _ in pair.llm.stream(ASKED):
            pass

    async with asyncio.TaskGroup() as group:
        listening = group.create_task(listen())
        await pair.service.stalled.wait()
        listening.cancel()
    await asyncio.wait_for(pair.service.hung_up.wait(), 5)


async def test_the_cancel_event_hangs_up_and_ends_the_iterator(pair: Pair) -> None:
    pair.service.script = [Says("One two three.", stalls_after=1)]
    cancel = asyncio.Event()
    said: list[LLMChunk] = []
    async for chunk in pair.llm.stream(ASKED, cancel_event=cancel, call_id="c1"):
        said.append(chunk)
        cancel.set()
    assert text_of(said) == "One "
    assert said[-1].type == "text"
    await asyncio.wait_for(pair.service.hung_up.wait(), 5)
    asked = len(pair.service.calls)
    assert [chunk async for chunk in pair.llm.stream(ASKED, cancel_event=cancel)] == []
    assert len(pair.service.calls) == asked


async def test_the_cancel_event_ends_a_wait_for_the_first_word(pair: Pair) -> None:
    pair.service.script = [Says("One two three.", stalls_after=0)]
    cancel = asyncio.Event()

    async def give_up() -> None:
        await pair.service.stalled.wait()
        cancel.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(give_up())
        assert [chunk async for chunk in pair.llm.stream(ASKED, cancel_event=cancel)] == []
    await asyncio.wait_for(pair.service.hung_up.wait(), 5)


async def test_turns_share_one_connection_that_was_opened_in_advance(pair: Pair) -> None:
    not_hidden(pair)
    await pair.llm.warmup()
    assert pair.service.connections == 1
    call = pair.llm.clone()
    for _ in range(3):
        pair.service.script = [Says("Yes.")]
        assert text_of([chunk async for chunk in call.stream(ASKED)]) == "Yes."
    await call.close()
    assert text_of(await pair.ask(Says("No."))) == "No."
    assert pair.service.connections == 1


async def test_two_calls_at_once_do_not_mix(pair: Pair) -> None:
    async def one(word: str) -> str:
        asked = [{"role": "user", "content": word * 3}]
        return text_of([chunk async for chunk in pair.llm.clone().stream(asked)])

    answers = [*await asyncio.gather(one("tea "), one("milk "))]
    assert answers == ["You said: tea tea tea ", "You said: milk milk milk "]


async def test_what_a_model_shows_and_what_it_is(pair: Pair) -> None:
    assert isinstance(pair.llm, LLMProvider)
    assert pair.service.key not in repr(pair.llm)
    assert pair.service.key.encode() not in pickle.dumps(pair.llm)
    assert pair.llm.provider_key == pair.vendor.name
    assert pair.llm.model
