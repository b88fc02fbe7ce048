"""Chains of recognisers and of voices: who takes over, when, with which audio, and who is billed."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from getpatter import (
    Agent,
    AllProvidersFailedError,
    CartesiaTTS,
    DeepgramSTT,
    Fallback,
    FallbackLLMProvider,
    FallbackSTTProvider,
    FallbackTTSProvider,
    OpenAILLM,
    OpenAITTS,
    PartialStreamError,
    RimeTTS,
    SonioxSTT,
)
from getpatter.models import Transcript
from getpatter.testing import PhoneSimulation, Polite, ScriptedLLM, babble
from getpatter.testing.fake_llm import Says
from getpatter.testing.fake_llm_chat import FakeOpenAI
from getpatter.testing.fake_speech import KEY, Refusal, tone
from getpatter.testing.fake_speech_cartesia import FakeCartesia
from getpatter.testing.fake_speech_deepgram import FakeDeepgram
from getpatter.testing.fake_speech_openai import FakeOpenAISpeech
from getpatter.testing.fake_speech_soniox import FakeSoniox
from getpatter.testing.fake_speech_voices import FakeRime
from getpatter.testing.time import in_virtual_time
from getpatter.types import MULAW_8K, PCM16_16K, Spent
from tests.e2e.speech_kit import Listening, silence, speech

LINES = ("I would like an appointment, please.", "On Monday.", "Thanks.")
HELLO = "Hello there."
BROKEN = Refusal(500, b'{"err_msg":"sorry"}')


# ----------------------------------------------------------------------------------------- recognisers


@dataclass
class Ears:
    first: FakeDeepgram
    second: FakeSoniox
    chain: FallbackSTTProvider


@asynccontextmanager
async def ears(
    lines: Sequence[str] = LINES, *, retries: int = 1, interval_s: float = 600.0
) -> AsyncIterator[Ears]:
    async with FakeDeepgram(lines) as first, FakeSoniox(lines) as second:
        chain = FallbackSTTProvider(
            [DeepgramSTT(KEY, base_url=first.ws_url), SonioxSTT(KEY, base_url=second.ws_url)],
            max_retry_per_provider=retries,
            recovery_interval_s=interval_s,
        )
        yield Ears(first, second, chain)
        await chain.close()


def for_a_phone(chain: FallbackSTTProvider) -> Any:
    chosen = chain.with_input((MULAW_8K,))
    assert chosen is not None
    return chosen


class Call(Listening):
    """A chain, fed with the phone's own format."""

    stt: Any

    def utter(self, lasts_ms: float = 600) -> None:
        self.feed(speech(lasts_ms))
        self.feed(silence(1500))


@in_virtual_time
async def test_the_first_recogniser_hears_while_it_is_well() -> None:
    async with ears() as it:
        async with Call(for_a_phone(it.chain)) as call:
            call.utter(800)
            await call.until(lambda: call.finals == [LINES[0]])
            assert (call.stt.provider_key, call.stt.model) == ("deepgram", "nova-3")
        assert not it.second.calls
        assert call.stt.billed_seconds == pytest.approx(it.first.seconds_heard, abs=0.1)
        assert it.first.sockets_open == 0


@in_virtual_time
async def test_one_that_refuses_is_passed_over_also_by_the_next_call() -> None:
    async with ears() as it:
        it.first.refusals = [BROKEN] * 20
        async with Call(for_a_phone(it.chain)) as call:
            call.utter()
            await call.until(lambda: call.finals == [LINES[0]])
            assert call.stt.provider_key == "soniox"
        asked = len(it.first.calls)
        assert asked >= 2, "a refusal that may pass is tried once more"
        async with Call(for_a_phone(it.chain)) as later:
            later.utter()
            await later.until(lambda: later.finals == [LINES[0]])
        assert len(it.first.calls) == asked
        chain: Any = call.stt
        assert [each.provider for each in chain.spent if each.units] == ["soniox"]


@in_virtual_time
async def test_what_was_said_before_the_break_is_heard_by_the_next_one_with_its_times() -> None:
    async with ears(retries=0) as it:
        it.first.drop_after_bytes = MULAW_8K.size(900)
        async with Call(for_a_phone(it.chain)) as call:
            call.feed(silence(500))
            call.feed(speech(800))
            await asyncio.sleep(0.5)  # the break is noticed
            call.feed(silence(1500))
            await call.until(lambda: call.finals == [LINES[0]])
            final = next(said for said in call.said if said.is_final and said.text)
            assert final.start_ms == pytest.approx(500, abs=60)
            assert final.end_ms == pytest.approx(1300, abs=60)
            assert it.second.seconds_heard >= 2.7, "all of it, from the call's beginning on"
            assert call.stt.provider_key == "soniox"
        chain: Any = call.stt
        assert {each.provider for each in chain.spent} == {"deepgram", "soniox"}


@in_virtual_time
async def test_words_that_were_delivered_are_not_heard_again() -> None:
    async with ears(retries=0) as it, Call(for_a_phone(it.chain)) as call:
        call.utter(800)
        await call.until(lambda: call.finals == [LINES[0]])
        it.first.drop_after_bytes = 0
        call.utter(600)
        await call.until(lambda: len(call.finals) == 2)
        await asyncio.sleep(5)
        assert call.finals == [LINES[0], LINES[0]], "each service's first line: one utterance each"
        last = [said for said in call.said if said.is_final and said.text][-1]
        assert last.start_ms == pytest.approx(2300, abs=100)


@in_virtual_time
async def test_a_lost_line_is_opened_again_with_the_same_one_first() -> None:
    async with ears() as it:
        it.first.drop_after_bytes = MULAW_8K.size(400)
        async with Call(for_a_phone(it.chain)) as call:
            call.utter(800)
            await call.until(lambda: call.finals == [LINES[0]])
            assert call.stt.provider_key == "deepgram"
        assert not it.second.calls


@in_virtual_time
async def test_one_that_stalls_is_replaced_in_time() -> None:
    async with ears() as it:
        it.first.hold.clear()
        loop = asyncio.get_running_loop()
        async with Call(for_a_phone(it.chain)) as call:
            began = loop.time()
            for frame in [*speech(800), *silence(1500)]:
                call.feed([frame])
                await asyncio.sleep(0.02)
            await call.until(lambda: call.finals == [LINES[0]])
            assert loop.time() - began < 0.8 + 1.0 + 3.0 + 0.5
            assert call.stt.provider_key == "soniox"
        it.first.hold.set()


@in_virtual_time
async def test_somebody_who_knows_that_the_voice_has_stopped_shortens_the_wait() -> None:
    async with ears() as it:
        it.first.hold.clear()
        loop = asyncio.get_running_loop()
        async with Call(for_a_phone(it.chain)) as call:
            began = loop.time()
            call.feed(speech(800))
            call.stt.finalize()
            await call.until(lambda: call.finals == [LINES[0]])
            assert loop.time() - began < 3.5, "the next one was asked for its final words too"
        it.first.hold.set()


@in_virtual_time
async def test_noise_that_nobody_understands_is_nobodys_fault() -> None:
    async with ears(lines=()) as it, Call(for_a_phone(it.chain)) as call:
        it.first.hold.clear()
        it.second.hold.clear()
        for _ in range(3):
            call.utter(900)
            await asyncio.sleep(10)
        assert call.error is None
        assert call.finals == []
        assert it.chain.provider_key == "deepgram", "the next call prefers it again"
        it.first.hold.set()
        it.second.hold.set()


@in_virtual_time
async def test_silence_makes_nobody_suspicious() -> None:
    async with ears() as it, Call(for_a_phone(it.chain)) as call:
        it.first.hold.clear()
        call.feed(silence(20_000))
        call.feed(speech(200))  # a cough
        call.feed(silence(5000))
        await asyncio.sleep(10)
        assert not it.second.calls
        it.first.hold.set()


@in_virtual_time
async def test_none_is_left_and_later_one_is_back() -> None:
    async with ears() as it:
        it.first.refusals = [BROKEN] * 20
        it.second.refusals = [BROKEN] * 20
        chosen = for_a_phone(it.chain)
        with pytest.raises(AllProvidersFailedError, match=r"deepgram.*soniox"):
            await chosen.connect()
        it.second.refusals = []
        async with Call(chosen) as call:
            call.utter()
            await call.until(lambda: call.finals == [LINES[0]])


@in_virtual_time
async def test_a_failed_one_is_tried_in_the_background_and_comes_back() -> None:
    async with ears(interval_s=30) as it:
        it.first.refusals = [BROKEN] * 20
        async with Call(for_a_phone(it.chain)) as call:
            call.utter()
            await call.until(lambda: call.finals == [LINES[0]])
        await asyncio.sleep(40)
        assert it.chain.provider_key == "soniox"
        it.first.refusals = []
        await asyncio.sleep(60)
        assert it.chain.provider_key == "deepgram"


class Plain:
    """A recogniser of one's own, with nothing but the documented methods, on PCM16 at 16 kHz."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.heard = 0
        self.closed = 0
        self.results: asyncio.Queue[Transcript] = asyncio.Queue()

    async def connect(self) -> None:
        if self.fails:
            raise RuntimeError("secret-0123456789")

    async def send_audio(self, pcm: bytes) -> None:
        self.heard += len(pcm)
        await asyncio.sleep(0)
        if self.heard > 32 * 1500:
            await self.results.put(Transcript("hello", is_final=True, speech_final=True))

    async def receive_transcripts(self) -> AsyncIterator[Transcript]:
        while True:
            yield await self.results.get()

    async def close(self) -> None:
        self.closed += 1


@in_virtual_time
async def test_recognisers_of_your_own_take_part_and_are_converted() -> None:
    broken, plain = Plain(fails=True), Plain()
    chain = FallbackSTTProvider([broken, plain])
    async with Call(for_a_phone(chain)) as call:
        call.utter(800)
        await call.until(lambda: bool(call.finals))
        await asyncio.sleep(1)
        assert plain.heard == pytest.approx(PCM16_16K.size(2300), rel=0.01)
        assert call.stt.provider_key == "Plain"
    assert (broken.closed, plain.closed) == (0, 0), "shared objects are closed at the end only"
    await chain.close()
    assert (broken.closed, plain.closed) == (1, 1)


# ---------------------------------------------------------------------------------------------- voices


@dataclass
class Voices:
    first: FakeCartesia
    second: FakeRime
    chain: FallbackTTSProvider


@asynccontextmanager
async def voices(*, retries: int = 1, interval_s: float = 600.0) -> AsyncIterator[Voices]:
    async with FakeCartesia() as first, FakeRime() as second:
        chain = FallbackTTSProvider(
            [CartesiaTTS(KEY, base_url=first.ws_url), RimeTTS(KEY, base_url=second.url)],
            max_retry_per_provider=retries,
            recovery_interval_s=interval_s,
        )
        yield Voices(first, second, chain)
        await chain.close()


def speaking(chain: FallbackTTSProvider) -> FallbackTTSProvider:
    chosen = chain.with_output((MULAW_8K,))
    assert chosen is not None
    return chosen


async def sound_of(voice: FallbackTTSProvider, text: str) -> bytes:
    return b"".join([sound async for sound in voice.synthesize(text)])


@in_virtual_time
async def test_the_first_voice_speaks_while_it_is_well() -> None:
    async with voices() as it:
        voice = speaking(it.chain)
        assert await sound_of(voice, HELLO) == tone(HELLO, MULAW_8K)
        assert voice.spent == (Spent("cartesia_tts", "sonic-3", len(HELLO)),)
        assert not it.second.calls
        await voice.close()


@in_virtual_time
async def test_one_that_refuses_is_passed_over_and_not_billed() -> None:
    async with voices() as it:
        it.first.refusals = [BROKEN] * 20
        voice = speaking(it.chain)
        assert await sound_of(voice, HELLO) == tone(HELLO, MULAW_8K)
        asked = len(it.first.calls)
        assert await sound_of(voice, "Again.") == tone("Again.", MULAW_8K)
        assert len(it.first.calls) == asked
        (spent,) = voice.spent
        assert (spent.provider, spent.units) == ("rime", len(HELLO) + len("Again."))
        assert voice.provider_key == "rime"
        assert it.chain.billed_characters == len(HELLO) + len("Again.")


@in_virtual_time
async def test_a_voice_that_stalls_is_replaced_in_time() -> None:
    async with voices() as it:
        it.first.hold.clear()
        loop = asyncio.get_running_loop()
        voice = speaking(it.chain)
        began = loop.time()
        assert await sound_of(voice, HELLO) == tone(HELLO, MULAW_8K)
        assert loop.time() - began < 3.5, "all attempts of the first one together"
        it.first.hold.set()


@in_virtual_time
async def test_after_the_first_sound_the_text_ends_and_the_next_one_has_another_voice() -> None:
    async with voices() as it:
        it.first.drop_after_bytes = MULAW_8K.size(150)
        voice = speaking(it.chain)
        heard: list[bytes] = []

        async def listen() -> None:
            async for sound in voice.synthesize(HELLO):
                heard.append(sound)  # noqa: PERF401 - what came before the failure counts

        with pytest.raises(PartialStreamError) as caught:
            await listen()
        assert heard
        assert tone(HELLO, MULAW_8K).startswith(b"".join(heard))
        assert caught.value.vendor.startswith("cartesia")
        assert await sound_of(voice, "Next.") == tone("Next.", MULAW_8K)
        assert voice.provider_key == "rime"


@in_virtual_time
async def test_silence_in_the_middle_of_a_text_has_a_limit_too() -> None:
    async with voices() as it:
        voice = speaking(it.chain)
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def listen() -> None:
            async for _ in voice.synthesize(HELLO * 3):
                it.first.hold.clear()

        with pytest.raises(PartialStreamError, match="said nothing more"):
            await listen()
        assert loop.time() - began < 6
        it.first.hold.set()


@in_virtual_time
async def test_each_voice_gives_the_format_of_the_chain() -> None:
    async with FakeOpenAISpeech(()) as first, FakeRime() as second:
        chain = FallbackTTSProvider(
            [OpenAITTS(KEY, base_url=f"{first.url}/v1"), RimeTTS(KEY, base_url=second.url)]
        )
        voice = speaking(chain)
        assert voice.output_format == MULAW_8K
        sound = await sound_of(voice, HELLO)
        assert len(sound) == pytest.approx(len(tone(HELLO, MULAW_8K)), rel=0.02)
        await chain.close()


@in_virtual_time
async def test_no_voice_is_left_and_later_one_is_back() -> None:
    async with voices(retries=0, interval_s=30) as it:
        it.first.refusals = [BROKEN] * 9
        it.second.refusals = [BROKEN] * 9
        voice = speaking(it.chain)
        with pytest.raises(AllProvidersFailedError, match=r"cartesia.*rime"):
            await sound_of(voice, HELLO)
        it.first.refusals, it.second.refusals = [], []
        await asyncio.sleep(90)
        assert it.chain.clone().provider_key.startswith("cartesia")
        assert await sound_of(voice, HELLO) == tone(HELLO, MULAW_8K)


@in_virtual_time
async def test_cancelling_ends_the_text_and_nothing_else() -> None:
    async with voices() as it:
        voice = speaking(it.chain)
        sounds = voice.synthesize(HELLO * 10)
        assert await anext(sounds)
        await sounds.aclose()
        assert await sound_of(voice, HELLO) == tone(HELLO, MULAW_8K)
        assert not it.second.calls
        assert it.first.connections == 1


# -------------------------------------------------------------------------------------------- the rest


@in_virtual_time
async def test_a_model_that_only_pings_is_replaced_in_time() -> None:
    async with FakeOpenAI() as first, FakeOpenAI() as second:
        models = [OpenAILLM(each.key, base_url=each.base_url) for each in (first, second)]
        chain = Fallback(*models, first_token_timeout_s=2.0)
        first.script = [Says("Hm", stalls_after=0)]
        second.script = [Says("Second.")]
        loop = asyncio.get_running_loop()
        began = loop.time()
        asked = [{"role": "user", "content": "Hello"}]
        said = [chunk.content async for chunk in chain.stream(asked) if chunk.type == "text"]
        assert "".join(said) == "Second."
        assert loop.time() - began < 2.5
        await chain.close()


def test_the_kind_of_chain_follows_from_what_is_in_it() -> None:
    stt, tts, llm = DeepgramSTT(KEY), RimeTTS(KEY), OpenAILLM(KEY)
    assert isinstance(Fallback(stt, SonioxSTT(KEY)), FallbackSTTProvider)
    assert isinstance(Fallback(tts, tts), FallbackTTSProvider)
    assert isinstance(Fallback(llm), FallbackLLMProvider)
    mixed: Any = (stt, tts)
    with pytest.raises(TypeError, match="another kind"):
        Fallback(*mixed)
    strange: Any = object()
    with pytest.raises(TypeError, match="no model, recogniser or voice"):
        Fallback(strange)
    with pytest.raises(ValueError, match="at least one"):
        Fallback()


@pytest.mark.parametrize("kind", [FallbackSTTProvider, FallbackTTSProvider])
def test_what_cannot_be(kind: Any) -> None:
    one: Any = DeepgramSTT(KEY) if kind is FallbackSTTProvider else RimeTTS(KEY)
    with pytest.raises(ValueError, match="at least one"):
        kind([])
    with pytest.raises(TypeError, match="cannot take part"):
        kind([object()])
    with pytest.raises(TypeError, match=r"write \w+\(\.\.\.\)"):
        kind([type(one)])
    with pytest.raises(ValueError, match="max_retry_per_provider"):
        kind([one], max_retry_per_provider=-1)
    with pytest.raises(ValueError, match="recovery_interval_s"):
        kind([one], recovery_interval_s=0)


def test_they_can_be_shown_and_pickled_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DEEPGRAM_API_KEY", "RIME_API_KEY"):
        monkeypatch.setenv(variable, "another-key-0123")
    chains: tuple[Any, ...] = (
        FallbackSTTProvider([DeepgramSTT(KEY)], result_timeout_s=2),
        FallbackTTSProvider([RimeTTS(KEY)], first_audio_timeout_s=2),
    )
    for chain in chains:
        stored = pickle.dumps(chain)
        assert KEY not in repr(chain)
        assert KEY.encode() not in stored
        assert repr(pickle.loads(stored)) == repr(chain)


async def test_a_call_goes_on_and_everybody_is_paid(phone_simulation: PhoneSimulation) -> None:
    asked, answer = "A haircut, please.", "Which day would you like to come?"
    async with ears((asked, "Monday."), retries=0) as heard, voices() as spoken:
        heard.first.drop_after_bytes = MULAW_8K.size(700)
        spoken.first.refusals = [BROKEN] * 50
        agent = Agent(
            system_prompt="You are the desk of a hairdresser.",
            first_message=HELLO,
            stt=heard.chain,
            tts=spoken.chain,
            llm=ScriptedLLM([answer]),
        )
        phone = await phone_simulation(agent)
        call = await phone.talk(Polite(asked, voice=babble))
        assert phone.transcript(call.sid) == [
            ("assistant", HELLO),
            ("user", asked),
            ("assistant", answer),
        ]
        metrics: Any = phone.calls[call.sid].end["metrics"]
        assert (metrics.stt_provider, metrics.tts_provider) == ("soniox", "rime")
        assert metrics.cost.stt > 0
        assert metrics.cost.tts > 0
