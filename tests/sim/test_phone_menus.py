"""Phone menus: an agent that rings one, gets through, and notices circles and silence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from getpatter import IVRActivity
from getpatter.agent import build_agent
from getpatter.audio import mulaw_to_pcm16
from getpatter.audio.dtmf import DtmfDetector
from getpatter.runtime.control import CallControl
from getpatter.testing.callees import Callee
from getpatter.testing.callers import Caller, Handset, babble, hang_up, listen, say, wait
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation
from getpatter.testing.time import in_virtual_time

MENU = "For opening hours press one. For billing press two."
THEIRS = "+15550002222"


class Keypad:
    """What an activity needs of a call."""

    def __init__(self) -> None:
        self.pressed: list[str] = []

    async def send_dtmf(self, digits: str) -> None:
        self.pressed.append(digits)


def activity(**options: Any) -> tuple[IVRActivity, list[float]]:
    """One that notes the seconds at which nobody spoke."""
    loop = asyncio.get_running_loop()
    began, silences = loop.time(), list[float]()
    options.setdefault("on_silence", lambda: silences.append(round(loop.time() - began, 3)))
    return IVRActivity(Keypad(), **options), silences


@in_virtual_time
async def test_silence_is_told_again_and_again_until_somebody_speaks() -> None:
    one, silences = activity(max_silence_duration=3.0)
    await asyncio.sleep(10)
    assert silences == []  # it was not started
    await one.start()
    await asyncio.sleep(7)
    assert silences == [13.0, 16.0]
    one.note_user_state("speaking")
    await asyncio.sleep(20)
    one.note_user_state("listening")
    one.note_agent_state("thinking")
    await asyncio.sleep(20)
    one.note_agent_state("speaking")
    await asyncio.sleep(3)
    one.note_agent_state("listening")
    await asyncio.sleep(2)
    await one.on_user_transcribed("Hello?")
    await asyncio.sleep(3.5)
    assert silences == [13.0, 16.0, 65.0]
    await one.stop()
    await asyncio.sleep(20)
    assert silences == [13.0, 16.0, 65.0]
    await one.aclose()


@in_virtual_time
async def test_a_loop_is_told_and_what_goes_wrong_in_a_callback_is_only_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[str] = []

    async def looped() -> None:
        told.append("loop")
        raise RuntimeError("no")

    one, _ = activity(on_loop_detected=looped)
    await one.on_user_transcribed(MENU)
    await one.start()
    for _ in range(4):
        await one.on_user_transcribed(MENU)
        await asyncio.sleep(0.1)
    assert told == ["loop"]
    assert "ivr.callback_failed callback=ivr:on_loop_detected error=RuntimeError" in caplog.text
    deaf, _ = activity(on_loop_detected=looped, loop_detector=False)
    await deaf.start()
    for _ in range(9):
        await deaf.on_user_transcribed(MENU)
    await deaf.aclose()
    await one.aclose()
    assert told == ["loop"]


@in_virtual_time
async def test_the_tool_presses_keys_and_tells_the_model() -> None:
    keypad = Keypad()
    (tool,) = IVRActivity(keypad).tools
    press: Any = tool.handler
    assert tool.name == "send_dtmf_events"
    assert await press({"events": ["1", "#"]}, {}) == "Pressed 1 #."
    mistakes: list[dict[str, Any]] = [{}, {"events": []}, {"events": ["12"]}, {"events": "1"}]
    for wrong in mistakes:
        assert "Nothing was pressed" in await press(wrong, {})
    assert keypad.pressed == ["1#"]


def test_patience_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_silence_duration is 0"):
        IVRActivity(Keypad(), max_silence_duration=0)


def menu(heard: list[str]) -> Any:
    """A phone menu: says what can be pressed, and listens to the tones that come."""

    async def choose(handset: Handset) -> None:
        detector, at = DtmfDetector(8000), 0

        def pressed(h: Handset) -> bool:
            nonlocal at
            upto = round(h.now_ms * 8)
            keys = detector.push(mulaw_to_pcm16(h.play.between(at, upto)))
            at = upto
            heard.extend(keys)
            return "2" in heard

        await handset.until(pressed, patience_s=30)

    return Caller(
        wait(500), say(MENU), choose, wait(400), say("This is billing."), listen(patience_s=20),
        wait(500), hang_up(), voice=babble,
    )  # fmt: skip


@in_virtual_time
async def test_an_agent_gets_through_a_menu_to_a_person() -> None:
    heard: list[str] = []
    activities: dict[str, IVRActivity] = {}

    async def clerk(event: Any, call: CallControl) -> str:
        one = activities.setdefault(call.call_id, IVRActivity(call))
        await one.start()
        await one.on_user_transcribed(event["text"])
        if "press" in event["text"]:
            (tool,) = one.tools
            press: Any = tool.handler
            await press({"events": ["2"]}, {})
            return ""
        await one.aclose()
        return "Hello, I am calling about an invoice."

    agent = build_agent(
        "You call suppliers.", None, stt=ScriptedSTT([MENU, "This is billing."]), tts=ScriptedTTS()
    )
    async with Simulation(agent, on_message=clerk, callees={THEIRS: Callee(menu(heard))}) as phone:
        result = await phone.call(THEIRS)
    assert result.outcome == "answered"
    assert heard == ["2"]
    assert [(line["role"], line["text"]) for line in result.transcript] == [
        ("user", MENU),
        ("user", "This is billing."),
        ("assistant", "Hello, I am calling about an invoice."),
    ]
    assert not phone.problems
