"""Whole calls over the real clock: a tool is asked for, runs, and its result is spoken; a model takes over.

Every model goes through such calls in virtual time: `test_parity.py`.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

import pytest

from getpatter import FallbackLLMProvider, Patter, tool
from getpatter.testing.callers import Polite, babble
from getpatter.testing.fake_llm import Calls, Says
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.twilio import SimulatedTwilio
from tests.support.llm_vendors import VENDORS, Vendor

FAMILIES: Final = [each for each in VENDORS if each.name in {"openai", "anthropic", "google"}]
SCRIPT: Final = (
    Says("One moment.", calls=[Calls("find_slot", {"day": "Tuesday"})]),
    Says("Tuesday at nine is free."),
)


@tool
async def find_slot(day: str) -> dict[str, str]:
    """Find a free appointment.

    Args:
        day: Day of the week.
    """
    return {"day": day, "at": "nine"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def a_call(llm: object) -> tuple[list[tuple[str, str]], Any]:
    """Somebody rings, asks for a haircut and waits for the answer. What was said, and the call's record."""
    lines: list[tuple[str, str]] = []
    ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    async with SimulatedTwilio() as twilio:
        phone = Patter(
            carrier=twilio.carrier(), phone_number=twilio.number, webhook_url="agent.example"
        )
        port = free_port()
        twilio.server = f"127.0.0.1:{port}"
        agent = phone.agent(
            system_prompt="You are the desk of a barber.",
            stt=ScriptedSTT(["a haircut on Tuesday"], final_delay=0.1),
            tts=ScriptedTTS(0.02, ms_per_letter=20),
            llm=llm,
            tools=[find_slot],
            first_message="Welcome.",
        )
        serving = asyncio.create_task(
            phone.serve(
                agent,
                port=port,
                on_transcript=lambda event: lines.append((event["role"], event["text"])),
                on_call_end=ended.set_result,
            )
        )
        try:
            await phone.ready
            call = twilio.ring(Polite("a haircut please", voice=babble, gap_ms=300))
            await call.ended()
            record = await asyncio.wait_for(ended, 10)
        finally:
            await phone.disconnect()
            await asyncio.wait_for(serving, 10)
    return lines, record


@pytest.mark.parametrize("vendor", FAMILIES[:1], ids=lambda vendor: vendor.name)
async def test_a_call_with_a_tool(vendor: Vendor) -> None:
    async with vendor.service(SCRIPT) as service:
        llm = vendor.llm(service.key, service.base_url, 15.0)
        lines, record = await a_call(llm)
        await llm.close()
    said = " ".join(text for role, text in lines if role == "assistant")
    assert "One moment." in said
    assert "Tuesday at nine is free." in said
    assert ("user", "a haircut on Tuesday") in lines
    assert "nine" in str(service.bodies[1])
    assert "end_call" in str(service.bodies[0]), "system tools are offered as well"
    assert service.connections == 1, "two requests, one connection"
    _is_billed(record, vendor.name, llm.model)


def _is_billed(record: Any, provider: str, model: str) -> None:
    metrics = record["metrics"]
    assert metrics.llm_provider == provider
    assert metrics.llm_model == model
    assert metrics.cost.llm > 0


async def test_the_model_that_took_over_is_billed() -> None:
    first, second = FAMILIES[0], FAMILIES[1]
    async with first.service(()) as broken, second.service(SCRIPT) as service:
        broken.refusals = [broken.refused(500, "Sorry")] * 4
        llm = FallbackLLMProvider(
            [
                first.llm(broken.key, broken.base_url, 15.0),
                second.llm(service.key, service.base_url, 15.0),
            ]
        )
        lines, record = await a_call(llm)
        await llm.close()
    assert any("Tuesday at nine" in text for _, text in lines)
    _is_billed(record, second.name, str(llm.model))
