"""`PatterTool`: another agent calls somebody, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from getpatter import HookContext, Patter, PatterConnectionError, PatterTool, PipelineHooks
from getpatter.testing.callers import Caller, Polite, babble, wait
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.twilio import Callee, SimulatedTwilio

ADA = "+15550002222"
BOB = "+15550003333"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def options(**changed: Any) -> dict[str, Any]:
    return {
        "stt": ScriptedSTT(["yes please"], final_delay=0.3),
        "tts": ScriptedTTS(0.02, ms_per_letter=20),
        "llm": ScriptedLLM(["Booked."], first_token_delay=0.05),
    } | changed


@asynccontextmanager
async def the_phone() -> AsyncIterator[tuple[Patter, SimulatedTwilio, int]]:
    async with SimulatedTwilio() as twilio:
        phone = Patter(
            carrier=twilio.carrier(), phone_number=twilio.number, webhook_url="agent.example"
        )
        port = free_port()
        twilio.server = f"127.0.0.1:{port}"
        twilio.callees[ADA] = Callee(
            Polite("yes please, for two at eight", voice=babble, gap_ms=300), rings_s=0.1
        )
        twilio.callees[BOB] = Callee(outcome="busy", rings_s=0.1)
        try:
            yield phone, twilio, port
        finally:
            await phone.disconnect()


async def test_a_call_with_a_goal_and_a_greeting_that_reach_the_callee() -> None:
    prompts: list[str] = []

    def note(messages: list[dict[str, Any]], _: HookContext) -> None:
        prompts.append(messages[0]["content"])

    eve = options(system_prompt="You are Eve.", hooks=PipelineHooks(before_llm=note))
    async with the_phone() as (phone, twilio, port):
        tool = PatterTool(phone, agent=eve, recording=True)
        await tool.start(port=port)
        await tool.start()
        result = await tool.execute({"to": ADA, "goal": "Book a table.", "first_message": "Hi."})
        busy = await tool.execute(to=BOB, goal="Anything.")
        assert len(twilio.recordings) == 1
        await tool.stop()
        await tool.stop()
        assert not phone.is_serving
    assert (result.status, result.outcome) == ("completed", "answered")
    assert [dict(line) for line in result.transcript] == [
        {"role": "agent", "text": "Hi."},
        {"role": "user", "text": "yes please"},
        {"role": "agent", "text": "Booked."},
    ]
    assert prompts
    assert all("You are Eve.\n\nBook a table." in prompt for prompt in prompts)
    assert result.duration_seconds > 0
    assert result.cost_usd == pytest.approx(sum(result.metrics["cost"].values()))
    assert result.metrics["p95_latency_ms"] > 0
    assert json.loads(json.dumps(result.to_dict()))["call_id"] == result.call_id
    assert (busy.status, busy.transcript) == ("busy", ())


async def test_when_the_time_is_over_the_carrier_is_asked_to_hang_up() -> None:
    async with the_phone() as (phone, twilio, port):
        twilio.callees[ADA] = Callee(Caller(wait(30_000), voice=babble), rings_s=0.1)
        agent = phone.agent(system_prompt="You are Eve.", **options())
        tool = PatterTool(phone, agent=agent)
        await tool.start(port=port)
        result = await tool.execute(to=ADA, max_duration_sec=1)
        (call,) = twilio.calls
        await tool.stop()
    assert result.status == "timeout"
    assert call.hung_up_by in {"api", "limit"}, (
        "who is first: our request, or the limit that it was given"
    )


async def test_a_server_that_runs_already_is_used_and_outlives_the_tool() -> None:
    async with the_phone() as (phone, _, port):
        agent = phone.agent(system_prompt="You are Eve.", **options())
        serving = asyncio.create_task(phone.serve(agent, port=port))
        tool = PatterTool(phone, agent=agent, serialize=False)
        results = await asyncio.gather(*(tool.execute(to=BOB) for _ in range(3)))
        assert {result.status for result in results} == {"busy"}
        await tool.stop()
        assert phone.is_serving
        await phone.disconnect()
        await serving


async def test_a_failure_to_serve_is_raised_where_it_was_asked_for() -> None:
    async with the_phone() as (phone, _, port):
        tool = PatterTool(phone, agent=options(system_prompt="You are Eve."))
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
            taken.listen()
            for _ in range(2):
                with pytest.raises(PatterConnectionError, match=str(port)):
                    await tool.start(port=port)
        await tool.start()
        assert phone.is_serving
        await tool.stop()


async def test_the_hermes_handler_answers_in_json_whatever_happens() -> None:
    registered: dict[str, Any] = {}

    class Registry:
        def register(self, **entry: Any) -> None:
            registered.update(entry)

    async with the_phone() as (phone, _, port):
        tool = PatterTool(phone, agent=options(system_prompt="x"), dial_allow=["+1555*"])
        tool.register_hermes(Registry())
        await tool.start(port=port)
        handler = registered["handler"]
        assert json.loads(await handler({"to": BOB}, task_id="t"))["status"] == "busy"
        assert "dial_allow" in json.loads(await handler({"to": "+393331234567"}))["error"]
        assert "E.164" in json.loads(await handler({"to": "Ada"}))["error"]
        assert "unknown" in json.loads(await handler({"to": BOB, "when": "now"}))["error"]
    assert (registered["name"], registered["toolset"]) == ("make_phone_call", "patter")
    assert registered["schema"] == tool.hermes_schema()


async def test_langchain_runs_it() -> None:
    async with the_phone() as (phone, _, port):
        tool = PatterTool(phone, agent=options(system_prompt="x"))
        await tool.start(port=port)
        answer = await tool.langchain_tool().ainvoke({"to": BOB, "goal": "Anything."})
    assert answer["status"] == "busy"


def test_the_schemas_say_the_same() -> None:
    tool = PatterTool(Patter(), name="ring", description="Rings.", max_duration_sec=60)
    parameters = tool.hermes_schema()["parameters"]
    assert tool.openai_schema() == {
        "type": "function",
        "function": {"name": "ring", "description": "Rings.", "parameters": parameters},
    }
    assert tool.anthropic_schema() == {
        "name": "ring",
        "description": "Rings.",
        "input_schema": parameters,
    }
    assert parameters["required"] == ["to"]
    assert set(parameters["properties"]) == {"to", "goal", "first_message", "max_duration_sec"}


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"agent": "Eve"}, TypeError),
        ({"name": "make a call"}, ValueError),
        ({"max_duration_sec": 0}, ValueError),
        ({"max_duration_sec": 1801}, ValueError),
        ({"max_duration_sec": 1.5}, TypeError),
        ({"dial_allow": ["everybody"]}, ValueError),
        ({"colour": "red"}, TypeError),
    ],
)
def test_mistakes_are_found_when_it_is_made(given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        PatterTool(Patter(), **given)
