"""Every recogniser keeps the same promises, over real sockets to a fake of its service."""

from __future__ import annotations

import asyncio

import pytest

from getpatter.errors import AuthenticationError, PatterConnectionError, RateLimitError
from getpatter.testing.fake_speech import KEY, Refusal
from getpatter.testing.time import in_virtual_time
from getpatter.types import MULAW_8K
from tests.e2e.speech_kit import EARS, LINES, STREAMING, Ear, Listening, Recogniser, silence, speech

each = pytest.mark.parametrize("ear", EARS, ids=lambda ear: ear.name)
each_streaming = pytest.mark.parametrize("ear", STREAMING, ids=lambda ear: ear.name)


def for_a_phone(stt: Recogniser) -> Recogniser:
    return stt.with_input((MULAW_8K,)) or stt.clone()


@each
async def test_words_and_when_they_were_said(ear: Ear) -> None:
    async with ear.service(LINES) as service:
        async with Listening(for_a_phone(ear.make(service, KEY))) as call:
            call.feed(silence(500, call.stt.input_format))
            call.utter(800)
            await call.until(lambda: call.finals == [LINES[0]])
            final = next(said for said in call.said if said.is_final and said.text)
            if not ear.has_times:
                return
            assert final.start_ms == pytest.approx(500, abs=60)
            assert final.end_ms == pytest.approx(1300, abs=60)
            await call.until(lambda: any(said.speech_final for said in call.said))
        assert call.error is None


@each
async def test_a_word_said_twice_is_heard_twice(ear: Ear) -> None:
    async with (
        ear.service(LINES) as service,
        Listening(for_a_phone(ear.make(service, KEY))) as call,
    ):
        for number in range(3):
            call.utter()
            await call.until(lambda: len(call.finals) > number)  # noqa: B023 - awaited here
        assert call.finals == [*LINES]
        starts = [said.start_ms for said in call.said if said.is_final and said.text]
        if ear.has_times:
            assert starts == sorted(set(starts), key=lambda start: start or 0)


@each_streaming
async def test_guesses_come_before_the_final_words(ear: Ear) -> None:
    async with (
        ear.service(LINES) as service,
        Listening(for_a_phone(ear.make(service, KEY))) as call,
    ):
        call.utter(1000)
        await call.until(lambda: call.finals == [LINES[0]])
        guesses = [said.text for said in call.said if not said.is_final]
        assert guesses
        assert all(LINES[0].startswith(guess.rstrip(".")) for guess in guesses)


@pytest.mark.parametrize("ear", [ear for ear in EARS if ear.finalizes], ids=lambda ear: ear.name)
async def test_asked_to_finalize_it_need_not_wait_for_silence(ear: Ear) -> None:
    async with (
        ear.service(LINES) as service,
        Listening(for_a_phone(ear.make(service, KEY))) as call,
    ):
        call.feed(speech(600, call.stt.input_format))
        call.stt.finalize()
        await call.until(lambda: call.finals == [LINES[0]])


@each
async def test_silence_is_not_words(ear: Ear) -> None:
    async with ear.service(LINES) as service:
        async with Listening(for_a_phone(ear.make(service, KEY))) as call:
            call.feed(silence(3000, call.stt.input_format))
            call.stt.finalize()
        assert call.finals == []
        assert call.error is None


@each
async def test_two_calls_on_one_object_do_not_hear_each_other(ear: Ear) -> None:
    async with ear.service(("First.", "Second.", "Third.")) as service:
        stt = ear.make(service, KEY)
        async with Listening(for_a_phone(stt)) as one, Listening(for_a_phone(stt)) as two:
            one.utter()
            await one.until(lambda: len(one.finals) == 1)
            assert two.said == []
            two.utter()
            await two.until(lambda: len(two.finals) == 1)
            one.utter()
            await one.until(lambda: len(one.finals) == 2)
        await stt.close()


@each
async def test_what_is_charged_is_counted(ear: Ear) -> None:
    async with ear.service(LINES) as service:
        async with Listening(for_a_phone(ear.make(service, KEY))) as call:
            call.utter(1000)
            await call.until(lambda: call.finals == [LINES[0]])
        assert call.stt.billed_seconds == pytest.approx(service.seconds_heard, abs=0.06)
        assert call.stt.billed_seconds > 1


@each
async def test_a_wrong_key_is_an_authentication_error_that_does_not_quote_it(ear: Ear) -> None:
    wrong = "sk-wrong-0123456789abcdef"
    async with ear.service(LINES) as service:
        error = await refused(for_a_phone(ear.make(service, wrong)))
    assert isinstance(error, AuthenticationError)
    assert error.vendor
    assert not error.retryable
    assert wrong not in str(error)
    assert "0123456789" not in str(error)


@each
async def test_too_many_is_a_rate_limit_error(ear: Ear) -> None:
    async with ear.service(LINES) as service:
        service.refusals = [Refusal(429, headers={"retry-after": "3600"})] * 3
        error = await refused(for_a_phone(ear.make(service, KEY)))
    assert isinstance(error, RateLimitError)
    assert error.retryable


async def refused(stt: Recogniser) -> Exception | None:
    """What connecting, or else the first utterance, raises."""
    try:
        async with Listening(stt) as call:
            call.utter()
            return await call.end()
    except (AuthenticationError, PatterConnectionError) as error:
        return error
    finally:
        await stt.close()


@each_streaming
async def test_a_line_lost_in_mid_word_is_an_error_and_the_next_stream_goes_on(ear: Ear) -> None:
    async with ear.service(LINES) as service:
        stt = for_a_phone(ear.make(service, KEY))
        service.drop_after_bytes = stt.input_format.size(400)
        async with Listening(stt) as call:
            call.utter()
            error = await call.end()
            assert isinstance(error, PatterConnectionError)
            assert error.retryable
        async with Listening(stt.clone()) as later:
            later.utter()
            await later.until(lambda: later.finals == [LINES[0]])


@pytest.mark.parametrize(
    "ear", [ear for ear in STREAMING if ear.has_times], ids=lambda ear: ear.name
)
async def test_times_go_on_over_a_new_stream_of_the_same_call(ear: Ear) -> None:
    async with ear.service(LINES) as service:
        stt = for_a_phone(ear.make(service, KEY))
        service.drop_after_bytes = stt.input_format.size(400)
        async with Listening(stt) as call:
            call.utter(1000)
            assert await call.end() is not None
        before = call.stt.billed_seconds * 1000
        async with Listening(stt) as again:
            again.utter()
            await again.until(lambda: bool(again.finals))
        first = next(said for said in again.said if said.is_final and said.text)
        assert first.start_ms is not None
        assert first.start_ms == pytest.approx(before, abs=100)


@each_streaming
@in_virtual_time
async def test_it_is_kept_alive_while_no_audio_flows(ear: Ear) -> None:
    async with ear.service(LINES) as service:
        async with Listening(for_a_phone(ear.make(service, KEY))) as call:
            await asyncio.sleep(170)
            call.utter()
            await call.until(lambda: call.finals == [LINES[0]])
        assert call.error is None


@each
@in_virtual_time
async def test_closing_takes_less_than_two_seconds_of_a_service_that_hangs(ear: Ear) -> None:
    async with ear.service(LINES) as service:
        stt = for_a_phone(ear.make(service, KEY))
        async with Listening(stt) as call:
            call.feed(speech(200, stt.input_format))
            service.hold.clear()
            loop = asyncio.get_running_loop()
            began = loop.time()
            await stt.close()
            assert loop.time() - began <= 2.0
            await stt.close()
        service.hold.set()


@each
async def test_audio_may_come_in_pieces_of_any_size(ear: Ear) -> None:
    async with ear.service(LINES) as service, Listening(ear.make(service, KEY).clone()) as call:
        form = call.stt.input_format
        audio = b"".join([*speech(600, form), *silence(900, form)])
        sizes = (1, 333, 7, 4001, 20_001)
        at = number = 0
        while at < len(audio):
            size = sizes[number % len(sizes)]
            call.stt.feed(audio[at : at + size])
            at, number = at + size, number + 1
        await call.until(lambda: call.finals == [LINES[0]])


@each
async def test_a_warm_socket_is_used(ear: Ear) -> None:
    async with ear.service(LINES) as service:
        stt = ear.make(service, KEY)
        chosen = for_a_phone(stt)
        await chosen.warmup()
        async with Listening(chosen) as call:
            call.utter()
            await call.until(lambda: call.finals == [LINES[0]])
        assert service.connections == 1
        await stt.close()
