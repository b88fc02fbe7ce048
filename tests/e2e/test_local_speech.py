"""The embedded voice talks to the embedded recogniser over a telephone's mu-law; both are the real ones."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pocketsphinx")
pytest.importorskip("espeakng_loader")

from getpatter.audio.g711 import pcm16_to_mulaw
from getpatter.errors import PatterConfigError, PatterConnectionError
from getpatter.models import Transcript
from getpatter.stt.local import LocalSTT
from getpatter.tts import _local_worker, local
from getpatter.tts.local import LocalTTS, speech
from getpatter.types import MULAW_8K, PCM16_8K, PCM16_16K, AudioFormat

GRAMMAR = """
day = monday | tuesday | wednesday | thursday | friday
(i would like to | i want to) (book | change | cancel) (an | my) appointment
(on | make it) <day> [please | instead]
yes [that is right]
no
"""
LINES = [
    "i would like to book an appointment",
    "on tuesday please",
    "make it thursday instead",
    "yes that is right",
]
QUIET = b"\xff" * 2400


@pytest.fixture
async def caller() -> AsyncIterator[LocalTTS]:
    tts = LocalTTS(voice="en-us+adam", output_format=MULAW_8K)
    await tts.warmup()
    yield tts
    await tts.close()


@pytest.fixture(scope="module")
def desk() -> LocalSTT:
    return LocalSTT(grammar=GRAMMAR, input_format=MULAW_8K)


async def said(tts: LocalTTS, text: str) -> bytes:
    return b"".join([sound async for sound in tts.synthesize(text)])


async def test_a_conversation_is_understood(caller: LocalTTS, desk: LocalSTT) -> None:
    stt = desk.clone()
    await stt.connect()
    results = stt.receive_transcripts()
    position = 0.0
    for line in LINES:
        for piece in (QUIET, await said(caller, line), QUIET):
            await stt.send_audio(piece)
            position += MULAW_8K.ms(len(piece))
        await stt.finalize()
        interims: list[Transcript] = []
        async for result in results:
            if result.is_final:
                break
            interims.append(result)
        assert result.text == line
        assert result.speech_final
        assert result.confidence > 0.9
        assert [word.text for word in result.words] == line.split()
        assert result.start_ms is not None
        assert result.end_ms is not None
        assert position - 4000 < result.start_ms < result.end_ms <= position
        assert interims
        assert interims[-1].text == line
    await stt.close()
    assert [result async for result in results] == []


async def test_a_pause_ends_the_utterance_without_finalize(
    caller: LocalTTS, desk: LocalSTT
) -> None:
    twice = (QUIET + await said(caller, "yes") + QUIET * 4) * 2
    assert [result.text for result in await desk.transcribe(twice)] == ["yes", "yes"]


async def test_the_repeated_yes_has_its_own_time(caller: LocalTTS, desk: LocalSTT) -> None:
    first, second = await desk.transcribe((QUIET + await said(caller, "yes") + QUIET * 4) * 2)
    assert first.end_ms is not None
    assert second.start_ms is not None
    assert second.start_ms - first.end_ms > 700


@pytest.mark.parametrize("dbov", [-20.0, -35.0, -60.0])
@pytest.mark.parametrize("seconds", [0.2, 0.5, 3.0])
async def test_noise_is_not_an_answer(desk: LocalSTT, dbov: float, seconds: float) -> None:
    count = int(seconds * 8000)
    noise = np.random.default_rng(1).standard_normal(count) * 32768 * 10 ** (dbov / 20)
    pcm = np.clip(noise, -32768, 32767).astype("<i2").tobytes()
    assert await desk.transcribe(QUIET + pcm16_to_mulaw(pcm) + QUIET) == []


@pytest.mark.parametrize("hertz", [425, 1000, 2600])
async def test_a_tone_is_not_an_answer(desk: LocalSTT, hertz: int) -> None:
    tone = np.sin(np.arange(16000) * 2 * np.pi * hertz / 8000) * 6000
    pcm = tone.astype("<i2").tobytes()
    assert await desk.transcribe(QUIET + pcm16_to_mulaw(pcm) + QUIET) == []


async def test_other_speech_is_mostly_not_an_answer(caller: LocalTTS, desk: LocalSTT) -> None:
    foreign = [
        "the quick brown fox jumps over the lazy dog",
        "what is the weather like in london today",
        "how much does it cost to send a parcel to germany",
        "please play some music for me",
        "the train leaves at half past eleven",
    ]
    kept = 0
    for text in foreign:
        kept += len(await desk.transcribe(QUIET + await said(caller, text) + QUIET))
    assert kept <= 2


async def test_two_calls_do_not_hear_each_other(caller: LocalTTS, desk: LocalSTT) -> None:
    calls = [desk.clone(), desk.clone()]
    for stt, line in zip(calls, LINES, strict=False):
        await stt.send_audio(QUIET + await said(caller, line) + QUIET)
        await stt.finalize()
    for stt, line in zip(calls, LINES, strict=False):
        texts = [result.text async for result in _until_final(stt)]
        assert texts[-1] == line
        await stt.close()


async def _until_final(stt: LocalSTT) -> AsyncIterator[Transcript]:
    async for result in stt.receive_transcripts():
        yield result
        if result.is_final:
            return


async def test_every_format_is_the_same_speech(caller: LocalTTS) -> None:
    text = "On Tuesday."
    seconds = [
        form.ms(len(await said(caller.clone(output_format=form), text))) / 1000
        for form in (MULAW_8K, PCM16_8K, PCM16_16K)
    ]
    assert max(seconds) - min(seconds) < 0.01
    assert 0.4 < seconds[0] < 2


@pytest.mark.parametrize("form", [PCM16_8K, PCM16_16K, MULAW_8K])
async def test_every_format_is_understood(
    caller: LocalTTS, desk: LocalSTT, form: AudioFormat
) -> None:
    stt, tts = desk.with_input([form]), caller.with_output([form])
    assert stt is not None
    assert tts is not None
    quiet = form.silence * (form.size(300) // form.bytes_per_sample)
    for line in LINES:
        results = await stt.transcribe(quiet + await said(tts, line) + quiet)
        assert [result.text for result in results] == [line]


async def test_closing_the_iterator_leaves_the_others_alone(caller: LocalTTS) -> None:
    long = caller.synthesize("One, two, three, four, five, six, seven. " * 50)
    await anext(long)
    whole = asyncio.create_task(said(caller.clone(), "yes"))
    await long.aclose()
    assert await whole == await said(caller, "yes")


async def test_many_calls_share_one_voice(caller: LocalTTS) -> None:
    texts = ["yes", "no", "on monday", "make it friday please"]
    alone = [await said(caller, text) for text in texts]
    together = await asyncio.gather(*(said(caller.clone(), text) for text in texts * 10))
    assert together == alone * 10


async def test_strange_text_is_spoken_or_skipped(caller: LocalTTS) -> None:
    assert await said(caller, " \n ... ") == b""
    for text in (
        "a\0b",
        "<speak>x & y</speak>",
        "caf\u00e9 \u4e2d\u6587 \U0001f600",
        "\ud800 yes",
        "[[h@l'oU]]",
    ):
        assert await said(caller, text)


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
async def test_the_voice_survives_the_death_of_its_process(caller: LocalTTS) -> None:
    before = await said(caller, "yes")
    process = local._process._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert await said(caller, "yes") == before


_DIES_SPEAKING = """
import struct, sys
frame = struct.Struct("<cII")
def send(kind, job, payload):
    sys.stdout.buffer.write(frame.pack(kind, job, len(payload)) + payload)
    sys.stdout.buffer.flush()
send(b"R", 0, b'{"sample_rate": 22050, "version": "1"}')
_, job, length = frame.unpack(sys.stdin.buffer.read(frame.size))
sys.stdin.buffer.read(length)
send(b"A", job, bytes(4410))
"""


async def test_a_death_in_mid_sentence_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "worker.py"
    script.write_text(_DIES_SPEAKING)
    monkeypatch.setattr(_local_worker, "__file__", str(script))
    monkeypatch.setattr(local, "_process", local.SpeakerProcess())
    tts = LocalTTS()
    sounds = tts.synthesize("One sentence.")
    assert await anext(sounds)
    with pytest.raises(PatterConnectionError, match="in the middle of a sentence"):
        await anext(sounds)
    await tts.close()


@pytest.mark.parametrize(
    "script", ["", "raise SystemExit(3)", "import sys; sys.stdout.write('Traceback')"]
)
async def test_a_voice_that_cannot_start_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    path = tmp_path / "worker.py"
    path.write_text(script)
    monkeypatch.setattr(_local_worker, "__file__", str(path))
    monkeypatch.setattr(local, "_process", local.SpeakerProcess())
    with pytest.raises(PatterConfigError, match="cannot be loaded"):
        await LocalTTS().warmup()


async def test_the_last_user_ends_the_process(caller: LocalTTS) -> None:
    other = caller.clone()
    await other.warmup()
    process = local._process._process
    assert process is not None
    await other.close()
    assert process.poll() is None
    await caller.close()
    assert process.poll() == 0
    await caller.close()


async def test_speech_gives_a_caller_for_tests() -> None:
    pcm = await speech("yes", voice="en-us+adam", rate=150)
    assert 0.2 < PCM16_8K.ms(len(pcm)) / 1000 < 1.5
