"""What happens to each example while it runs: the plug between documents and the simulated world.

A scenario is a function of an example and a stage. Most examples need no more than an environment
(`constructs`). One that serves calls gets a world with a caller in it: write a function here that starts the
simulated carrier, runs the example with `stage.run_while(example, world)`, and asserts what the caller heard
and what the program was told; then enter it in `SCENARIOS` and take the example out of `NOT_YET`.
"""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Final

from getpatter import Patter
from getpatter.agent import Agent
from getpatter.testing.callers import Polite, babble, offline_voice
from getpatter.testing.fake_realtime import VOICES, Calls, FakeRealtime, Says
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.twilio import SimulatedCall
from tests.seeds_support.extract import Example, seed_examples
from tests.seeds_support.outside import PORT, Outside
from tests.seeds_support.stage import Stage, until_it_listens

Scenario = Callable[[Example, Stage], None]

SETTINGS: Final = {
    "PHONE_NUMBER": "+15550001234",
    "WEBHOOK_URL": "agent.example.com",
    "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
    "TWILIO_AUTH_TOKEN": "0123456789abcdef0123456789abcdef",
    "TELNYX_API_KEY": "KEY0123456789ABCDEF",
    "TELNYX_CONNECTION_ID": "2000000000000000000",
    "OPENAI_API_KEY": "sk-made-up",
}
"""What the documents tell a reader to put into `.env`. All of it made up."""


def constructs(example: Example, stage: Stage) -> None:
    """It runs, and nothing it makes shows a secret in its `repr`."""
    names = stage.run(example)
    made = [names[name] for name in ("phone", "carrier") if name in names]
    assert made, "the example makes a phone or a carrier"
    secrets = [stage.settings[name] for name in ("TWILIO_AUTH_TOKEN", "TELNYX_API_KEY")]
    shown = [secret for secret in secrets for thing in made if secret in repr(thing)]
    assert not shown


def _desk(phone: Patter) -> Agent:
    """An agent that the documents leave to the reader."""
    return phone.agent(
        system_prompt="You are a helpful assistant.",
        first_message="Hello, who is calling?",
        stt=ScriptedSTT(["it is ada"], final_delay=0.1),
        tts=ScriptedTTS(0.02, ms_per_letter=20),
        llm=ScriptedLLM(["Hello Ada."], first_token_delay=0.05),
    )


def _prepared(stage: Stage, outside: Outside) -> Patter:
    """The phone of "Initialize Patter", with an agent, before the example that uses both."""
    os.environ["TWILIO_BASE_URL"] = outside.twilio.base_url
    stage.run(next(each for each in seed_examples() if each.name == "initialize"))
    phone = stage.names["phone"]
    assert isinstance(phone, Patter)
    stage.names["agent"] = _desk(phone)
    return phone


async def _talk(outside: Outside, *lines: str) -> SimulatedCall:
    call = outside.twilio.ring(Polite(*lines, gap_ms=300, voice=babble))
    await call.ended()
    return call


def serves(example: Example, stage: Stage) -> None:
    """It answers a call; `disconnect()` ends it."""
    with Outside(stage.settings) as outside:
        phone = _prepared(stage, outside)

        async def program() -> None:
            serving = asyncio.create_task(stage.play(example))
            await phone.ready
            call = await outside.beside(_talk(outside, "it is ada"))
            assert len(call.tape().heard_spans()) == 2, "a greeting and an answer"
            await phone.disconnect()
            await serving

        asyncio.run(program())
        assert not outside.twilio.problems


def places_a_call(example: Example, stage: Stage) -> None:
    """The carrier is asked to ring; the program then leaves, and nobody's phone goes on ringing."""
    with Outside(stage.settings) as outside:
        _prepared(stage, outside)
        stage.run(example)
        (call,) = outside.twilio.calls
        outside.do(call.ended())
        assert (call.caller, call.callee) == (stage.settings["PHONE_NUMBER"], "+15550009876")
        assert call.orders.detects_beside
        assert call.hung_up_by == "api"


def disconnects(example: Example, stage: Stage) -> None:
    """A phone that serves stops serving."""
    with Outside(stage.settings) as outside:
        phone = _prepared(stage, outside)

        async def program() -> None:
            serving = asyncio.create_task(phone.serve(_desk(phone), port=PORT))
            await phone.ready
            await stage.play(example)
            await asyncio.wait_for(serving, 5)

        asyncio.run(program())


def orders_a_pizza(example: Example, stage: Stage) -> None:
    """README's program hears a caller of flesh and loudspeaker, and answers."""
    with Outside(stage.settings) as outside:
        os.environ["TWILIO_BASE_URL"] = outside.twilio.base_url

        async def order() -> SimulatedCall:
            call = outside.twilio.ring(
                Polite("mushroom pizza please", gap_ms=900, voice=offline_voice),
                voice_url="https://agent.example.com/webhooks/twilio/voice",
            )
            await call.ended()
            return call

        async def world() -> None:
            await until_it_listens(PORT)
            call = await outside.beside(order())
            assert len(call.tape().heard_spans()) >= 2, "a greeting and an answer"

        stage.run_while(example, world)


def answers_below_a_path(example: Example, stage: Stage) -> None:
    """A web application that has a phone under a path of its own answers, and stops when told to."""
    with Outside(stage.settings) as outside:
        os.environ["TWILIO_BASE_URL"] = outside.twilio.base_url

        async def order() -> SimulatedCall:
            call = outside.twilio.ring(
                Polite("mushroom pizza please", gap_ms=900, voice=offline_voice),
                voice_url="https://example.com/phone/webhooks/twilio/voice",
            )
            await call.ended()
            return call

        async def world() -> None:
            await until_it_listens(PORT)
            call = await outside.beside(order())
            assert len(call.tape().heard_spans()) >= 2, "a greeting and an answer"
            assert not outside.twilio.problems

        stage.run_while(example, world)


def runs_a_reception(example: Example, stage: Stage) -> None:
    """The whole example: greeted by the engine, an appointment made by the tool, nobody given legal advice."""
    key = stage.settings["OPENAI_API_KEY"]
    appointment = {"name": "Ada", "date": "2026-03-02", "time": "09:00"}
    with Outside(stage.settings) as outside:
        os.environ["TWILIO_BASE_URL"] = outside.twilio.base_url
        service = FakeRealtime(
            key=key,
            heard=["An appointment on Monday, please.", "May I sue you?"],
            says=[
                Calls([("schedule_appointment", appointment)]),
                Says("You are booked. Your code is ACME-123."),
                Says("Of course you can sue us any time."),
            ],
            first_delay=0.05,
            ms_per_letter=20,
        )
        outside.do(service.__aenter__())
        os.environ["OPENAI_BASE_URL"] = f"{service.url}/v1"

        async def world() -> None:
            while not outside.twilio.numbers[0].voice_url:
                await asyncio.sleep(0.02)
            call = await outside.beside(_talk(outside, "an appointment", "may i sue you"))
            assert len(call.tape().heard_spans()) >= 3, "a greeting, an answer and a refusal"
            assert call.recordings

        try:
            with redirect_stdout(io.StringIO()) as printed:
                stage.run_while(example, world)
        finally:
            outside.do(service.__aexit__())
        (conversation, *_) = service.conversations
        assert "friendly receptionist for Acme Corp" in conversation.instructions
        assert conversation.session["audio"]["output"]["voice"] in VOICES
        assert conversation.session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
        tools = {tool["name"] for tool in conversation.session["tools"]}
        assert tools >= {"schedule_appointment", "end_call", "transfer_call"}
        (greeting, *_) = service.of("response.create")
        assert "Thank you for calling Acme Corp!" in greeting["response"]["instructions"]
        outputs = [
            e["item"] for e in service.of("conversation.item.create") if "output" in e["item"]
        ]
        assert ["ACME-123" in item["output"] for item in outputs] == [True]
        assert not service.problems
        assert not outside.twilio.problems
    said = printed.getvalue()
    assert "[CALL START] inbound call CA" in said
    assert "[user]: An appointment on Monday, please." in said
    assert "[assistant]: You are booked. Your code is ACME-123." in said
    assert "I'm not able to provide legal guidance." in said
    assert "sue us" not in said


def passes_under_pytest(example: Example, stage: Stage) -> None:
    """A file of tests: pytest finds some, and all pass, in a process of its own without other plugins."""
    (stage.folder / "test_example.py").write_text(example.source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    ended = subprocess.run(
        command, cwd=stage.folder, capture_output=True, check=False, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


SCENARIOS: Final[dict[str, Scenario]] = {
    "complete": runs_a_reception,
    "initialize": constructs,
    "serve": serves,
    "outbound": places_a_call,
    "disconnect": disconnects,
    "twilio": constructs,
    "twilio-namespaced": constructs,
    "telnyx": constructs,
    "telnyx-namespaced": constructs,
}
"""Example -> what happens to it."""


@dataclass(frozen=True)
class Missing:
    """Why an example does not work yet, and how that shows."""

    reason: str
    raises: type[Exception]


NOT_YET: Final[dict[str, Missing]] = {}
"""Examples that are expected to fail. Strict: one that begins to work must be taken out."""


SCENARIOS_OF_DOCS: Final[dict[str, Scenario]] = {
    "mounted": answers_below_a_path,
    "pizza": orders_a_pizza,
    "pytest": passes_under_pytest,
}
"""Name that a page gives in `<!-- test: scenario NAME -->` -> what happens to the block below it."""

NOT_YET_IN_DOCS: Final[dict[str, Missing]] = {}
"""Scenarios of pages that are expected to fail. Strict, like `NOT_YET`."""
