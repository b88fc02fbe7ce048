"""A whole call with vendors named in configurations: a simulated carrier on one side, fake services on the other."""

from __future__ import annotations

from getpatter import Patter, STTConfig, TTSConfig
from getpatter.testing import PhoneSimulation, Polite, ScriptedLLM, babble
from getpatter.testing.fake_speech import KEY
from getpatter.testing.fake_speech_deepgram import FakeDeepgram
from getpatter.testing.fake_speech_elevenlabs import FakeElevenLabs

GREETING = "Hello, how may I help you?"
ASKED = "A haircut, please."
ANSWER = "Which day would you like to come?"


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
