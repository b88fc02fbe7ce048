"""Whole phone calls with the vendors' classes: a simulated carrier on one side, fake services on the other."""

from __future__ import annotations

import pytest

from getpatter import Agent, Patter, STTConfig, TTSConfig
from getpatter.testing import (
    Caller,
    Interrupter,
    PhoneSimulation,
    Polite,
    ScriptedLLM,
    babble,
    hang_up,
    listen,
    say,
)
from getpatter.testing.fake_speech import KEY, Refusal
from getpatter.testing.fake_speech_deepgram import FakeDeepgram
from getpatter.testing.fake_speech_elevenlabs import FakeElevenLabs
from tests.e2e.speech_kit import EARS, MOUTHS, Ear, Mouth

GREETING = "Hello, how may I help you?"
ASKED = "A haircut, please."
ANSWER = "Which day would you like to come?"

PAIRS = [
    pytest.param(ear, MOUTHS[number % len(MOUTHS)], id=f"{ear.name}-{MOUTHS[number % len(MOUTHS)].name}")
    for number, ear in enumerate([*EARS, *EARS[: max(0, len(MOUTHS) - len(EARS))]])
]  # fmt: skip


def desk(ear: object, mouth: object, replies: list[str]) -> Agent:
    return Agent(
        system_prompt="You are the desk of a hairdresser.",
        first_message=GREETING,
        stt=ear,
        tts=mouth,
        llm=ScriptedLLM(replies),
    )


@pytest.mark.parametrize(("ear", "mouth"), PAIRS)
async def test_a_conversation(ear: Ear, mouth: Mouth, phone_simulation: PhoneSimulation) -> None:
    async with ear.service([ASKED, "Monday."]) as ears, mouth.service() as voices:
        stt, tts = ear.make(ears, KEY), mouth.make(voices, KEY)
        phone = await phone_simulation(desk(stt, tts, [ANSWER, "Monday it is."]))
        call = await phone.talk(Polite(ASKED, "Monday.", voice=babble))
        assert phone.transcript(call.sid) == [
            ("assistant", GREETING),
            ("user", ASKED),
            ("assistant", ANSWER),
            ("user", "Monday."),
            ("assistant", "Monday it is."),
        ]
        assert ears.sockets_open == 0
        assert voices.sockets_open == 0
        assert max(call.tape().answer_times()) < 2500
        await stt.close()
        await tts.close()


@pytest.mark.parametrize("mouth", MOUTHS, ids=lambda mouth: mouth.name)
async def test_an_interruption(mouth: Mouth, phone_simulation: PhoneSimulation) -> None:
    async with EARS[0].service(["Stop, please."]) as ears, mouth.service() as voices:
        stt, tts = EARS[0].make(ears, KEY), mouth.make(voices, KEY)
        phone = await phone_simulation(desk(stt, tts, ["Of course."]))
        call = await phone.talk(Interrupter("Stop, please.", after_ms=400, voice=babble))
        first, *rest = phone.transcript(call.sid)
        assert GREETING.startswith(first[1].rstrip(".… "))
        assert first[1] != GREETING
        assert rest == [("user", "Stop, please."), ("assistant", "Of course.")]
        await stt.close()
        await tts.close()


@pytest.mark.parametrize(
    "ear", [each for each in EARS if not each.is_buffered], ids=lambda ear: ear.name
)
async def test_a_recogniser_lost_in_mid_call_costs_no_later_turn(
    ear: Ear, phone_simulation: PhoneSimulation
) -> None:
    async with ear.service([ASKED]) as ears, MOUTHS[0].service() as voices:
        stt, tts = ear.make(ears, KEY), MOUTHS[0].make(voices, KEY)
        ears.drop_after_bytes = 8000  # within the greeting
        phone = await phone_simulation(desk(stt, tts, [ANSWER]))
        call = await phone.talk(Polite(ASKED, voice=babble))
        assert phone.transcript(call.sid)[-2:] == [("user", ASKED), ("assistant", ANSWER)]
        assert len([each for each in ears.calls if "upgrade" in each.headers]) >= 2
        await stt.close()
        await tts.close()


@pytest.mark.parametrize("mouth", MOUTHS, ids=lambda mouth: mouth.name)
async def test_a_voice_that_refuses_once_is_asked_again(
    mouth: Mouth, phone_simulation: PhoneSimulation
) -> None:
    async with EARS[0].service([ASKED]) as ears, mouth.service() as voices:
        stt, tts = EARS[0].make(ears, KEY), mouth.make(voices, KEY)
        voices.refusals = [Refusal(503)]
        phone = await phone_simulation(desk(stt, tts, [ANSWER]))
        call = await phone.talk(Caller(listen(), say(ASKED), listen(), hang_up(), voice=babble))
        assert phone.transcript(call.sid)[0] == ("assistant", GREETING)
        await stt.close()
        await tts.close()


async def test_configurations_stand_in_for_objects(phone_simulation: PhoneSimulation) -> None:
    async with FakeDeepgram([ASKED]) as ears, FakeElevenLabs() as voices:
        agent = Patter().agent(
            "You are the desk of a hairdresser.",
            first_message=GREETING,
            stt=STTConfig("deepgram", KEY, options={"base_url": ears.ws_url}),
            tts=TTSConfig("elevenlabs", KEY, "sarah", {"base_url": voices.url}),
            llm=ScriptedLLM([ANSWER]),
        )
        phone = await phone_simulation(agent)
        call = await phone.talk(Polite(ASKED, voice=babble))
        assert phone.transcript(call.sid) == [
            ("assistant", GREETING),
            ("user", ASKED),
            ("assistant", ANSWER),
        ]
        assert voices.texts == [GREETING, ANSWER]
