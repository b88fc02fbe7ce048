"""`Patter.serve()` over real sockets: a simulated carrier with signed webhooks rings, and somebody answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from getpatter import Patter, PatterConnectionError, PatterError
from getpatter.agent import Agent
from getpatter.testing.callers import Caller, Polite, babble, wait
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.twilio import SimulatedTwilio

HOST = "agent.example"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def an_agent(phone: Patter, **options: Any) -> Agent:
    given: dict[str, Any] = {
        "system_prompt": "You are the desk of a clinic.",
        "stt": ScriptedSTT(["a haircut"], final_delay=0.1),
        "tts": ScriptedTTS(0.02, ms_per_letter=20),
        "llm": ScriptedLLM(["Certainly."], first_token_delay=0.05),
        "first_message": "Welcome.",
    } | options
    return phone.agent(**given)


@asynccontextmanager
async def serving(
    twilio: SimulatedTwilio, agent_options: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Patter]:
    """A phone that is ready, and disconnected in the end."""
    phone = Patter(carrier=twilio.carrier(), phone_number=twilio.number, webhook_url=HOST)
    port = free_port()
    twilio.server = f"127.0.0.1:{port}"
    agent = an_agent(phone, **(agent_options or {}))
    task = asyncio.create_task(phone.serve(agent, port=port, **options))
    try:
        assert await phone.ready == HOST
        yield phone
    finally:
        await phone.disconnect()
        await asyncio.wait_for(task, 10)


async def test_a_call_from_ring_to_farewell() -> None:
    lines: list[tuple[str, str]] = []
    ended: list[dict[str, Any]] = []
    async with (
        SimulatedTwilio() as twilio,
        serving(
            twilio,
            on_transcript=lambda event: lines.append((event["role"], event["text"])),
            on_call_end=ended.append,
        ),
    ):
        call = twilio.ring(Polite("a haircut please", voice=babble, gap_ms=300))
        await call.ended()
        for _ in range(100):
            if ended:
                break
            await asyncio.sleep(0.02)
    assert lines == [("assistant", "Welcome."), ("user", "a haircut"), ("assistant", "Certainly.")]
    assert [event["reason"] for event in ended] == ["caller_hangup"]
    assert not twilio.problems
    assert len(call.tape().heard_spans()) == 2


async def test_serving_points_the_number_at_us() -> None:
    async with SimulatedTwilio() as twilio, serving(twilio):
        assert twilio.numbers[0].voice_url == f"https://{HOST}/webhooks/twilio/voice"
    async with SimulatedTwilio() as twilio, serving(twilio, manage_webhook=False):
        assert twilio.numbers[0].voice_url == ""
        assert not twilio.requests


async def test_health_answers_and_reveals_nothing() -> None:
    async with SimulatedTwilio() as twilio, serving(twilio), httpx.AsyncClient() as client:
        answer = await client.get(f"http://{twilio.server}/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok", "mode": "local"})
        assert (await client.get(f"http://{twilio.server}/docs")).status_code == 404


async def test_disconnect_hangs_up_before_it_closes_the_stream() -> None:
    reasons: list[str] = []
    async with SimulatedTwilio() as twilio:
        async with serving(twilio, on_call_end=lambda event: reasons.append(event["reason"])):
            call = twilio.ring(Caller(wait(60_000), voice=babble))
            await call.until("in-progress")
            await asyncio.sleep(0.3)
        assert call.hung_up_by == "api"
        assert reasons == ["shutdown"]
        # The carrier reports the end of a call to a server that is no longer there.
        assert all("11200" in problem for problem in twilio.problems)


async def test_a_port_in_use_rejects_ready_with_the_reason() -> None:
    async with SimulatedTwilio() as twilio:
        phone = Patter(carrier=twilio.carrier(), phone_number=twilio.number, webhook_url=HOST)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(PatterConnectionError, match=str(port)):
                await phone.serve(an_agent(phone), port=port)
            with pytest.raises(PatterConnectionError, match=str(port)):
                await phone.ready


async def test_a_second_serve_is_refused_and_the_first_goes_on() -> None:
    async with SimulatedTwilio() as twilio, serving(twilio) as phone:
        with pytest.raises(PatterError, match="already"):
            await phone.serve(an_agent(phone), port=free_port())
        assert await phone.ready == HOST


async def test_serving_again_after_disconnect() -> None:
    async with SimulatedTwilio() as twilio:
        phone = Patter(carrier=twilio.carrier(), phone_number=twilio.number, webhook_url=HOST)
        for _ in range(2):
            port = free_port()
            task = asyncio.create_task(phone.serve(an_agent(phone), port=port))
            assert await phone.tunnel_ready == HOST
            assert await phone.ready == HOST
            await phone.disconnect()
            await task
        await phone.disconnect()


async def test_cancelling_serve_frees_the_port() -> None:
    async with SimulatedTwilio() as twilio:
        phone = Patter(carrier=twilio.carrier(), phone_number=twilio.number, webhook_url=HOST)
        port = free_port()
        task = asyncio.create_task(phone.serve(an_agent(phone), port=port))
        await phone.ready
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", port))


async def test_a_carrier_that_refuses_the_webhook_keeps_the_phone_serving(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with SimulatedTwilio() as twilio:
        for _ in range(9):
            twilio.refuse_next(
                403, 20003, "Authenticate", operation="GET /IncomingPhoneNumbers.json"
            )
        async with serving(twilio):
            twilio.numbers[0].voice_url = f"https://{HOST}/webhooks/twilio/voice"
            call = twilio.ring(Polite(voice=babble, gap_ms=300))
            await call.ended()
    assert "server.webhook_not_set" in caplog.text
    assert f"https://{HOST}/webhooks/twilio/voice" in caplog.text


async def test_nothing_that_was_said_and_no_whole_number_reaches_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    async with SimulatedTwilio() as twilio, serving(twilio):
        call = twilio.ring(Polite("a haircut please", voice=babble, gap_ms=300))
        await call.ended()
    for secret in (
        "haircut",
        "Certainly",
        "Welcome",
        "5550009876",
        "5550001234",
        twilio.auth_token,
    ):
        guilty = [
            f"{record.name}: {record.getMessage()}"
            for record in caplog.records
            if secret in record.getMessage()
        ]
        assert not guilty, guilty[:3]
