"""Keys that a program asks for reach it, and nothing else: in a pipeline and with an engine."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from getpatter.agent import build_agent
from getpatter.engines.openai import Realtime
from getpatter.runtime.control import CallControl
from getpatter.runtime.recorder import FlightRecorder
from getpatter.testing.callers import Caller, babble, hang_up, listen, press, say, wait
from getpatter.testing.fake_realtime import Calls, FakeRealtime, Says
from getpatter.testing.memory import in_memory
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time
from getpatter.tools import Tool

PIN = "493817"


def keys(*steps: Any) -> Any:
    return Caller(
        listen(), say("my account"), listen(), press(PIN), wait(500), *steps, listen(), hang_up(),
        voice=babble,
    )  # fmt: skip


def keys_in(folder: Path) -> int:
    """Keys in the flight recordings of a folder."""
    (flight,) = folder.glob("*.flight.jsonl")
    lines = flight.read_text().splitlines()
    return len(
        [line for line in lines if line.startswith('["in"') and '"dtmf' in line.replace("\\", "")]
    )


@in_virtual_time
async def test_a_keyed_secret_reaches_the_program_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    got: list[str] = []

    async def desk(event: Any, call: CallControl) -> Any:
        if got:
            return "Goodbye."
        got.append(await call.collect_digits(6))
        return "Thank you."

    agent = build_agent(
        "You are a bank.", None, stt=ScriptedSTT(["my account"]), tts=ScriptedTTS(),
        first_message="Hello.",
    )  # fmt: skip
    caller = Caller(
        listen(), say("my account"), wait(1500), press(PIN), listen(), press("7"), listen(),
        hang_up(), voice=babble,
    )  # fmt: skip
    async with Simulation(agent, on_message=desk, flight_recorder=tmp_path) as phone:
        call = await phone.talk(caller)
    assert got == [PIN]
    assert phone.transcript(call.sid) == [
        ("assistant", "Hello."),
        ("user", "my account"),
        ("assistant", "Thank you."),
        ("user", "[DTMF: 7]"),
        ("assistant", "Goodbye."),
    ]
    assert PIN not in caplog.text
    FlightRecorder.written()
    assert keys_in(tmp_path) == 1  # the 7


@pytest.mark.parametrize(
    ("pressed", "options", "wanted"),
    [
        ("12#", {}, "12"),
        ("12", {"timeout": 3.0}, "12"),
        ("", {"timeout": 3.0}, ""),
        ("1*2#", {"finish_on": "*"}, "1"),
        ("12#4", {"max_digits": 4, "finish_on": ""}, "12#4"),
    ],
)
@in_virtual_time
async def test_an_entry_ends_by_number_key_or_silence(
    pressed: str, options: dict[str, Any], wanted: str
) -> None:
    got: list[str] = []

    async def desk(event: Any, call: CallControl) -> str:
        got.append(await call.collect_digits(**options))
        return "Thank you."

    agent = build_agent("x", None, stt=ScriptedSTT(["a"]), tts=ScriptedTTS(), first_message="Hi.")
    steps = [press(pressed)] if pressed else []
    caller = Caller(listen(), say("a"), wait(1500), *steps, wait(6000), hang_up(), voice=babble)
    async with Simulation(agent, on_message=desk) as phone:
        await phone.talk(caller)
    assert got[0] == wanted


@in_virtual_time
async def test_a_tool_of_an_engine_may_ask_for_keys() -> None:
    got: list[str] = []

    async def check(_: Any, ctx: dict[str, Any]) -> str:
        got.append(await ctx["call"].collect_digits(6))
        return "verified"

    service = FakeRealtime(
        heard=["My account."],
        says=[Calls([("check_pin", {})], "Please key your PIN."), Says("Thank you.")],
    )
    agent = build_agent(
        "You are a bank.", None, engine=in_memory(Realtime(service.key), service),
        first_message="Hello.", tools=[Tool("check_pin", "Asks for the PIN.", None, check)],
    )  # fmt: skip
    async with Simulation(agent) as phone:
        call = await phone.talk(keys())
    assert got == [PIN]
    assert [text for _, text in phone.transcript(call.sid)] == [
        "Hello.", "My account.", "Please key your PIN. Thank you.",
    ]  # fmt: skip
    assert not service.problems


async def test_what_makes_no_sense_is_refused() -> None:
    control = CallControl(
        None,  # type: ignore[arg-type]  # never reached
        call_id="c", caller="", callee="", telephony_provider="",
    )  # fmt: skip
    with pytest.raises(ValueError, match="max_digits"):
        await control.collect_digits(0)
    with pytest.raises(ValueError, match="timeout"):
        await control.collect_digits(timeout=0)
