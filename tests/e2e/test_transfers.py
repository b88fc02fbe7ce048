"""A transfer that fails and one that succeeds, over real sockets: webhooks, REST and media of each carrier."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from getpatter import Patter
from getpatter.runtime.control import CallControl
from getpatter.testing.callees import Callee
from getpatter.testing.callers import Caller, babble, listen, say
from getpatter.testing.plivo import SimulatedPlivo
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.telnyx import SimulatedTelnyx
from getpatter.testing.twilio import SimulatedTwilio

OFFICE = "+15550007777"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", [SimulatedTwilio, SimulatedTelnyx, SimulatedPlivo])
async def test_a_busy_office_sends_the_caller_back_and_a_free_one_keeps_them(kind: Any) -> None:
    ended: list[dict[str, Any]] = []
    over = asyncio.Event()
    tries: list[Any] = []

    async def desk(event: dict[str, Any], call: CallControl) -> str:
        if event["text"].startswith("[Transfer failed"):
            simulated.callees[OFFICE] = simulated.callees[OFFICE[1:]] = Callee(
                rings_s=0.2, talks_s=1.0
            )
            tries.append(await call.transfer(OFFICE, mode="warm", summary="A caller."))
        elif not tries:
            tries.append(await call.transfer(OFFICE))
        return ""

    def on_call_end(event: dict[str, Any]) -> None:
        ended.append(event)
        over.set()

    async with kind() as simulated:
        simulated.callees[OFFICE] = simulated.callees[OFFICE[1:]] = Callee(
            outcome="busy", rings_s=0.2
        )
        port = free_port()
        simulated.server = f"127.0.0.1:{port}"
        phone = Patter(
            carrier=simulated.carrier(),
            phone_number=simulated.number,
            webhook_url="agent.example",
        )
        agent = phone.agent(
            system_prompt="x",
            stt=ScriptedSTT(["the office"]),
            tts=ScriptedTTS(),
            first_message="Hi.",
        )
        serving = asyncio.create_task(
            phone.serve(agent, port=port, dashboard=False, on_message=desk, on_call_end=on_call_end)
        )
        await phone.ready
        call = simulated.ring(Caller(listen(), say("the office"), voice=babble))
        await call.ended(within_s=40)
        await asyncio.wait_for(over.wait(), 10)
        await phone.disconnect()
        await serving
        assert not simulated.problems
    assert [each["status"] for each in tries] == ["transferring", "transferring"]
    assert len(call.rides) == 2
    assert [each["reason"] for each in ended] == ["transferred"]
    assert ended[0]["transcript"][-1]["text"].startswith("[Transfer failed: the line was busy.")
