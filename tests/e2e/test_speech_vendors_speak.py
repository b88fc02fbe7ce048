"""Every voice keeps the same promises, over real sockets to a fake of its service."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from getpatter.errors import AuthenticationError, ErrorCode, PatterConnectionError, RateLimitError
from getpatter.testing.fake_speech import KEY, Refusal, tone
from getpatter.testing.time import in_virtual_time
from getpatter.types import MULAW_8K, PCM16_8K, PCM16_16K, AudioFormat
from tests.e2e.speech_kit import MOUTHS, SOCKETS, Mouth, Voice, sound_of

each = pytest.mark.parametrize("mouth", MOUTHS, ids=lambda mouth: mouth.name)
each_kept = pytest.mark.parametrize(
    "mouth", [mouth for mouth in SOCKETS if mouth.keeps_socket], ids=lambda mouth: mouth.name
)
each_socket = pytest.mark.parametrize("mouth", SOCKETS, ids=lambda mouth: mouth.name)

HELLO = "Hello there."
LONG = "I can see three free appointments on Monday, and two more on Tuesday afternoon. " * 4


def for_a_phone(voice: Voice) -> Voice:
    return voice.with_output((MULAW_8K,)) or voice.clone()


@each
async def test_exactly_the_text_is_spoken_and_counted(mouth: Mouth) -> None:
    async with mouth.service() as service:
        voice = for_a_phone(mouth.make(service, KEY))
        assert await sound_of(voice, HELLO) == tone(HELLO, voice.output_format)
        assert voice.billed_characters == len(HELLO) == service.characters
        await voice.close()


@each
@pytest.mark.parametrize("wanted", [MULAW_8K, PCM16_8K, PCM16_16K], ids=str)
async def test_in_the_format_of_the_call_where_the_vendor_can(
    mouth: Mouth, wanted: AudioFormat
) -> None:
    async with mouth.service() as service:
        plain = mouth.make(service, KEY)
        chosen = plain.with_output((wanted,))
        if chosen is None:
            assert plain.output_format != wanted
            return
        assert chosen.output_format == wanted
        assert await sound_of(chosen, HELLO) == tone(HELLO, chosen.output_format)
        await chosen.close()
        await plain.close()


@each
async def test_a_long_text_is_spoken_to_its_end(mouth: Mouth) -> None:
    async with mouth.service() as service:
        voice = for_a_phone(mouth.make(service, KEY))
        text = LONG.strip()
        sound = await sound_of(voice, text)
        expected = tone(text, voice.output_format)
        assert len(sound) == pytest.approx(len(expected), rel=0.02)
        assert service.characters <= len(text)
        await voice.close()


@each
async def test_one_sentence_after_the_other_on_one_connection(mouth: Mouth) -> None:
    async with mouth.service() as service:
        voice = for_a_phone(mouth.make(service, KEY))
        for text in ("One.", "Two and a half.", "Three."):
            assert await sound_of(voice, text) == tone(text, voice.output_format)
        assert service.connections == 1
        await voice.close()


@each
async def test_nothing_to_say_is_not_asked_for(mouth: Mouth) -> None:
    async with mouth.service() as service:
        voice = for_a_phone(mouth.make(service, KEY))
        assert await sound_of(voice, "  \n ") == b""
        assert service.characters == 0
        await voice.close()


@each
async def test_an_interruption_ends_that_text_and_nothing_else(mouth: Mouth) -> None:
    async with mouth.service() as service:
        voice = for_a_phone(mouth.make(service, KEY))
        other = voice.clone()
        async with aclosing(other.synthesize(LONG)) as sounds:
            first = [await anext(sounds)]
            async with aclosing(voice.synthesize(LONG)) as interrupted:
                await anext(interrupted)
            assert await sound_of(voice, HELLO) == tone(HELLO, voice.output_format)
            first += [sound async for sound in sounds]
        whole = await sound_of(other, LONG)
        assert b"".join(first) == whole
        await voice.close()
        await other.close()


@each_kept
async def test_an_interruption_keeps_the_socket(mouth: Mouth) -> None:
    async with mouth.service() as service:
        voice = for_a_phone(mouth.make(service, KEY))
        for _ in range(7):  # more often than there may be contexts
            async with aclosing(voice.synthesize(LONG)) as interrupted:
                await anext(interrupted)
        assert await sound_of(voice, HELLO) == tone(HELLO, voice.output_format)
        assert service.connections == 1
        await voice.close()


@each
async def test_cancelling_the_task_that_reads_ends_that_text(mouth: Mouth) -> None:
    async with mouth.service() as service:
        voice = for_a_phone(mouth.make(service, KEY))
        started = asyncio.Event()

        async def read() -> None:
            async with aclosing(voice.synthesize(LONG)) as sounds:
                async for _ in sounds:
                    started.set()
                    await asyncio.Event().wait()

        task = asyncio.get_running_loop().create_task(read())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await sound_of(voice, HELLO) == tone(HELLO, voice.output_format)
        await voice.close()


@each
async def test_two_calls_on_one_object_hear_their_own_words(mouth: Mouth) -> None:
    async with mouth.service() as service:
        voice = mouth.make(service, KEY)
        one, two = for_a_phone(voice), for_a_phone(voice)
        texts = [f"Call one, sentence {n}." for n in range(3)], ["Two.", "Two too.", "And two."]

        async def speak(own: Voice, lines: list[str]) -> list[bytes]:
            return [await sound_of(own, line) for line in lines]

        heard = await asyncio.gather(speak(one, texts[0]), speak(two, texts[1]))
        for sounds, lines in zip(heard, texts, strict=True):
            assert sounds == [tone(line, one.output_format) for line in lines]
        for each_voice in (one, two, voice):
            await each_voice.close()


@each
async def test_two_texts_at_once_on_one_voice_do_not_mix(mouth: Mouth) -> None:
    async with mouth.service() as service:
        voice = for_a_phone(mouth.make(service, KEY))
        texts = [
            HELLO,
            "Something else, and longer.",
            "Three",
            "Four, four",
            "Five.",
            "Six is more.",
        ]
        sounds = await asyncio.gather(*(sound_of(voice, text) for text in texts))
        assert sounds == [tone(text, voice.output_format) for text in texts]
        await voice.close()


@each
async def test_a_line_lost_in_mid_word_is_an_error_and_the_next_text_is_spoken(
    mouth: Mouth,
) -> None:
    async with mouth.service() as service:
        voice = for_a_phone(mouth.make(service, KEY))
        service.drop_after_bytes = voice.output_format.size(500)
        with pytest.raises(PatterConnectionError) as caught:
            await sound_of(voice, LONG)
        assert caught.value.retryable
        assert caught.value.vendor
        assert await sound_of(voice, HELLO) == tone(HELLO, voice.output_format)
        await voice.close()


@each
async def test_a_wrong_key_is_an_authentication_error_that_does_not_quote_it(mouth: Mouth) -> None:
    wrong = "sk-wrong-0123456789abcdef"
    async with mouth.service() as service:
        voice = mouth.make(service, wrong)
        with pytest.raises(AuthenticationError) as caught:
            await sound_of(voice, HELLO)
        await voice.close()
    assert not caught.value.retryable
    assert "0123456789" not in str(caught.value)


@each
async def test_too_many_is_a_rate_limit_error(mouth: Mouth) -> None:
    async with mouth.service() as service:
        service.refusals = [Refusal(429, b'{"message":"slow down"}')] * 3
        voice = mouth.make(service, KEY)
        with pytest.raises(RateLimitError, match="slow down") as caught:
            await sound_of(voice, HELLO)
        assert caught.value.retryable
        await voice.close()


@each
@in_virtual_time
async def test_a_service_that_falls_silent_is_given_up(mouth: Mouth) -> None:
    async with mouth.service() as service:
        voice = for_a_phone(mouth.make(service, KEY))
        service.hold.clear()
        with pytest.raises(PatterConnectionError) as caught:
            await sound_of(voice, HELLO)
        assert caught.value.code is ErrorCode.TIMEOUT
        service.hold.set()
        await voice.close()


@each_kept
@in_virtual_time
async def test_a_pause_of_minutes_costs_no_new_connection(mouth: Mouth) -> None:
    async with mouth.service() as service:
        voice = for_a_phone(mouth.make(service, KEY))
        await sound_of(voice, HELLO)
        await asyncio.sleep(300)
        assert await sound_of(voice, HELLO) == tone(HELLO, voice.output_format)
        assert service.connections == 1
        await voice.close()


@each
@in_virtual_time
async def test_closing_takes_less_than_two_seconds_of_a_service_that_hangs(mouth: Mouth) -> None:
    async with mouth.service() as service:
        voice = for_a_phone(mouth.make(service, KEY))
        async with aclosing(voice.synthesize(LONG)) as sounds:
            await anext(sounds)
            service.hold.clear()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await voice.close()
        await voice.close()
        assert loop.time() - began <= 2.0
        service.hold.set()


@each_socket
async def test_a_warm_socket_is_used(mouth: Mouth) -> None:
    async with mouth.service() as service:
        plain = mouth.make(service, KEY)
        voice = for_a_phone(plain)
        await voice.warmup()
        assert await sound_of(voice, HELLO) == tone(HELLO, voice.output_format)
        assert service.connections == 1
        await voice.close()
        await plain.close()


@each
async def test_closed_and_used_again_it_opens_anew(mouth: Mouth) -> None:
    async with mouth.service() as service:
        voice = for_a_phone(mouth.make(service, KEY))
        await sound_of(voice, HELLO)
        await voice.close()
        assert await sound_of(voice, HELLO) == tone(HELLO, voice.output_format)
        await voice.close()
