"""The built-in detector on voices and noises, alone and in company."""

from __future__ import annotations

import ctypes
import sys
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from getpatter.audio import g711
from getpatter.audio.resample import resampled
from getpatter.core.speech_gate import SpeechGate
from getpatter.errors import PatterConfigError
from getpatter.types import Encoding
from getpatter.vad import blas
from getpatter.vad.base import VADEvent, VADProvider
from getpatter.vad.silero import SileroOptions, SileroVAD
from getpatter.vad.silero_batch import SileroBatch
from getpatter.vad.silero_network import OneCall
from tests.unit.vad_voices import cough, murmur, noise, pcm, silence, speech

SENTENCE = pcm(silence(500), speech("aieou aeiou"), silence(900))
ENDS_MS = 500 + 10 * 220 + 150


async def hear(vad: SileroVAD, sound: bytes, rate: int = 8000, chunk: int = 320) -> list[VADEvent]:
    """Beginnings and ends of speech."""
    found = []
    for at in range(0, len(sound), chunk):
        event = await vad.process_frame(sound[at : at + chunk], rate)
        if event is not None and event.type != "silence":
            found.append(event)
    return found


def alone(sound: bytes) -> list[float]:
    call = OneCall()
    return [call.hear(sound[at : at + 512]) for at in range(0, len(sound) - 511, 512)]


def buzz(samples: int) -> bytes:
    """A vowel that wanders in pitch and colour, without chance in it."""
    at = np.arange(samples) / 8000
    pitch = 2 * np.pi * (110 * at + 1.5 * np.sin(2 * np.pi * 2 * at))
    bright = 1 + 0.8 * np.sin(2 * np.pi * 3 * at)
    sound = np.zeros(samples)
    for k in range(1, 24):
        sound += np.sin(k * pitch) * np.exp(-abs(k * 110 - 600 * bright) / 500)
    swell = np.clip(np.sin(2 * np.pi * 1.3 * at) * 1.5, 0, 1)
    return np.rint(3000 * swell * sound).astype("<i2").tobytes()


def test_the_network_answers_as_the_original_does() -> None:
    # silero_vad.onnx of the silero-vad 6.2.3 wheel in onnxruntime 1.31; float16 weights cost 3e-3 at most here.
    original = [
        *(0.0644, 0.0698, 0.0094, 0.0041, 0.0594, 0.8349, 0.9747, 0.9818, 0.9851, 0.9737),
        *(0.9719, 0.9877, 0.8826, 0.7915, 0.4897, 0.2243, 0.0966, 0.0600, 0.0444, 0.0364),
        *(0.0319, 0.0290, 0.0270, 0.0252, 0.4755, 0.4775, 0.2295, 0.1680, 0.1039, 0.1677),
        *(0.2642, 0.2902, 0.1532, 0.1990, 0.1280, 0.0886, 0.1372, 0.1057, 0.0622, 0.0359),
    ]
    assert alone(buzz(40 * 256)) == pytest.approx(original, abs=5e-3)


@pytest.mark.parametrize("pitch", [95, 130, 180, 230])
def test_low_and_high_voices_are_speech(pitch: float) -> None:
    heard = alone(pcm(silence(200), speech("aieou", pitch), silence(200)))
    assert np.mean(np.array(heard[8:38]) > 0.5) > 0.9
    assert max(heard[:5]) < 0.2


@pytest.mark.parametrize(
    "sound",
    [
        silence(1500),
        noise(1500, 50),
        noise(1500, 3000),
        8000 * np.sin(2 * np.pi * 440 * np.arange(12000) / 8000),
        8000 * np.sign(np.sin(2 * np.pi * 425 * np.arange(12000) / 8000)),
    ],
    ids=["silence", "hiss", "roar", "tone", "buzzer"],
)
async def test_noises_are_no_speech(sound: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    assert await hear(SileroVAD.load(), pcm(sound)) == []


async def test_coughs_are_no_speech() -> None:
    sound = pcm(silence(300), cough(), silence(250), cough(), silence(600))
    assert await hear(SileroVAD.load(), sound) == []


async def test_a_sentence_has_one_beginning_and_one_end_where_they_are() -> None:
    begin, end = await hear(SileroVAD.load(), SENTENCE)
    assert (begin.type, end.type) == ("speech_start", "speech_end")
    assert begin.confidence > 0.8
    assert end.confidence < 0.35
    assert begin.duration_ms == pytest.approx(286, abs=70)
    assert end.duration_ms == pytest.approx(ENDS_MS - 500, abs=150)


async def test_a_murmur_ends_soon_after_it() -> None:
    events = await hear(SileroVAD.load(), pcm(silence(300), murmur(), silence(900)))
    assert [event.type for event in events] == ["speech_start", "speech_end"]
    assert events[1].duration_ms < 750


async def test_the_phone_setting_is_harder_to_convince() -> None:
    easy, phone = SileroVAD.load(), SileroVAD.for_phone_call()
    assert (phone.options.activation_threshold, phone.options.deactivation_threshold) == (0.8, 0.65)
    quiet = pcm(silence(300), 0.3 * speech("uuuu") + noise(880, 300), silence(500))
    heard = np.array(alone(quiet))
    assert (heard > 0.8).sum() < (heard > 0.5).sum()
    assert len(await hear(phone, SENTENCE)) == len(await hear(easy, SENTENCE)) == 2


def test_overrides_of_the_phone_setting() -> None:
    assert SileroVAD.for_phone_call(min_silence_duration=0.7).options == SileroOptions(
        min_silence_duration=0.7, activation_threshold=0.8, deactivation_threshold=0.65
    )
    # The lower threshold follows the higher one when only that is named.
    lenient = SileroVAD.for_phone_call(activation_threshold=0.6).options
    assert lenient.gate().deactivation == pytest.approx(0.45)


@pytest.mark.parametrize("chunk", [2, 321, 512, 100_000])
async def test_the_size_of_the_pieces_does_not_matter(chunk: int) -> None:
    sound = SENTENCE[: 16 * 1100]
    vad = SileroVAD.load()
    events = [
        await vad.process_frame(sound[at : at + chunk], 8000) for at in range(0, len(sound), chunk)
    ]
    assert [e for e in events if e and e.type == "speech_start"] == await hear(
        SileroVAD.load(), sound
    )


async def test_several_events_of_one_piece_come_one_after_the_other() -> None:
    vad = SileroVAD.load()
    first = await vad.process_frame(SENTENCE, 8000)
    second = await vad.process_frame(b"", 8000)
    third = await vad.process_frame(b"", 8000)
    assert [event and event.type for event in (first, second, third)] == [
        "speech_start",
        "speech_end",
        None,
    ]


@pytest.mark.parametrize("rate", [16000, 24000, 44100])
async def test_other_rates_are_heard_the_same(rate: int) -> None:
    sound = resampled(SENTENCE, 8000, rate)
    events = await hear(SileroVAD.load(), sound, rate, 2 * rate // 50)
    assert [event.type for event in events] == ["speech_start", "speech_end"]
    assert events[1].duration_ms == pytest.approx(ENDS_MS - 500, abs=150)


async def test_the_rate_may_change_in_the_middle() -> None:
    vad = SileroVAD.load()
    half = 16 * 1600
    events = await hear(vad, SENTENCE[:half])
    events += await hear(vad, resampled(SENTENCE[half:], 8000, 24000), 24000, 960)
    assert [event.type for event in events] == ["speech_start", "speech_end"]
    assert events[1].duration_ms == pytest.approx(ENDS_MS - 500, abs=150)


async def test_the_padding_is_part_of_the_reported_speech() -> None:
    exact, *_ = await hear(SileroVAD.load(prefix_padding_duration=0), SENTENCE)
    padded, *_ = await hear(SileroVAD.load(prefix_padding_duration=0.1), SENTENCE)
    assert padded.duration_ms == exact.duration_ms + 100


async def test_silence_says_how_long_it_lasts_and_speech_says_nothing() -> None:
    vad = SileroVAD.load()
    events = [
        await vad.process_frame(SENTENCE[at : at + 512], 8000) for at in range(0, 16 * 1500, 512)
    ]
    for number in (0, 9):
        event = events[number]
        assert event is not None
        assert (event.type, event.duration_ms) == ("silence", 32.0 * (number + 1))
        assert event.confidence < 0.3
    assert events[-5:] == [None] * 5
    assert await vad.process_frame(bytes(2), 8000) is None


async def test_a_clone_has_the_settings_and_none_of_the_past() -> None:
    original = SileroVAD.load(min_speech_duration=0.1)
    assert len(await hear(original, SENTENCE[: 16 * 1500])) == 1
    clone = original.clone()
    assert clone.options is original.options
    assert len(await hear(clone, SENTENCE)) == 2
    # And the original goes on where it was.
    assert [event.type for event in await hear(original, SENTENCE[16 * 1500 :])] == ["speech_end"]


async def test_a_reset_and_a_close_begin_a_new_stream() -> None:
    vad = SileroVAD.load()
    fresh = await hear(vad, SENTENCE)
    vad.reset()
    assert await hear(vad, SENTENCE) == fresh
    await vad.close()
    vad.warm_up()
    assert await hear(vad, SENTENCE) == fresh


def test_it_is_a_voice_detector_and_all_of_them_share_the_weights() -> None:
    assert isinstance(SileroVAD.load(), VADProvider)
    assert SileroVAD.load(0.3, 0.5).options.min_silence_duration == 0.5
    assert SileroVAD.load().is_built_in


@pytest.mark.parametrize(
    "wrong",
    [
        {"sample_rate": 44100},
        {"activation_threshold": 1.5},
        {"activation_threshold": 0.5, "deactivation_threshold": 0.6},
        {"min_speech_duration": -0.1},
        {"onnx_file_path": "there/is/none.onnx"},
    ],
)
def test_settings_out_of_range_are_refused_at_once(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"sample_rate|thresholds|negative|no model"):
        SileroVAD.load(**wrong)  # type: ignore[arg-type]


async def test_a_model_of_ones_own_needs_the_engine_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    vad = SileroVAD.load(onnx_file_path=str(model))
    assert not vad.is_built_in
    with pytest.raises(PatterConfigError, match="pip install onnxruntime"):
        await vad.process_frame(bytes(640), 16000)


class FakeSession:
    """Takes what a Silero model takes, and finds speech where the step before was loud."""

    def run(self, _names: None, feed: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        frame = int(feed["sr"]) * 36 // 1000
        assert feed["sr"].dtype == np.int64
        assert feed["input"].dtype == feed["state"].dtype == np.float32
        assert feed["input"].shape == (1, frame)
        assert feed["state"].shape == (2, 1, 128)
        loud = np.abs(feed["input"]).max().reshape(1, 1)
        # The state of the step before says so, which shows that it is carried.
        return feed["state"][0, :, :1], np.full_like(feed["state"], loud[0, 0])


@pytest.mark.parametrize(("rate", "force_cpu"), [(8000, True), (16000, False)])
async def test_a_model_of_ones_own_is_run_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int, force_cpu: bool
) -> None:
    made: list[tuple[str, list[str]]] = []

    def session(path: str, _settings: object, providers: list[str]) -> FakeSession:
        made.append((path, providers))
        return FakeSession()

    engine = ModuleType("onnxruntime")
    engine.__dict__.update(
        InferenceSession=session,
        SessionOptions=SimpleNamespace,
        get_available_providers=lambda: ["Accelerator", "CPUExecutionProvider"],
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", engine)
    model = tmp_path / "model.onnx"
    model.write_bytes(b"")
    vad = SileroVAD.load(
        onnx_file_path=str(model), sample_rate=rate, force_cpu=force_cpu, min_speech_duration=0.1
    )
    step = 2 * rate * 32 // 1000
    full = np.full(step // 2, 32767, "<i2").tobytes()
    first = await vad.process_frame(full, rate)
    assert first is not None
    assert (first.type, first.confidence) == ("silence", 0.0)
    events = [await vad.process_frame(full, rate) for _ in range(4)]
    assert [event.type if event else None for event in events][-1] == "speech_start"
    vad.reset()
    again = await vad.process_frame(bytes(step), rate)
    assert again == VADEvent("silence", 0.0, 32.0)
    # One model serves every call.
    await vad.clone().process_frame(full, rate)
    wanted = ["CPUExecutionProvider"] if force_cpu else ["Accelerator", "CPUExecutionProvider"]
    assert made == [(str(model), wanted)]


# ------------------------------------------------------------------------------------ many at once


def test_a_call_hears_the_same_in_company_as_alone() -> None:
    sounds = [
        pcm(silence(40 * n), speech("aeiou", 100 + 20 * n), noise(300, 100 * n)) for n in range(9)
    ]
    batch = SileroBatch()
    slots = [batch.add(Encoding.PCM16) for _ in sounds]
    heard: dict[int, list[float]] = {slot: [] for slot in slots}
    # Every call has a rhythm of its own, so that the company changes from run to run.
    for turn in range(400):
        for slot, sound, step in zip(slots, sounds, range(101, 2000, 150), strict=False):
            batch.push(slot, sound[turn * step : (turn + 1) * step])
        for slot, probability, end, *_ in batch.run():
            heard[slot].append(probability)
            assert end == 32.0 * len(heard[slot])
    for slot, sound in zip(slots, sounds, strict=True):
        expected = alone(sound[: 400 * (101 + 150 * slots.index(slot))])
        assert len(heard[slot]) == len(expected) > 0
        assert heard[slot] == pytest.approx(expected, abs=1e-5)


def test_bytes_of_a_phone_are_heard_as_they_are() -> None:
    batch = SileroBatch()
    slots = {
        batch.add(Encoding.MULAW): g711.pcm16_to_mulaw(SENTENCE),
        batch.add(Encoding.PCM16): SENTENCE,
        batch.add(Encoding.ALAW): g711.pcm16_to_alaw(SENTENCE),
        batch.add(): g711.pcm16_to_mulaw(SENTENCE),
    }
    heard: dict[int, list[float]] = {slot: [] for slot in slots}
    for slot, data in slots.items():
        batch.push(slot, data)
    for slot, probability, *_ in batch.run():
        heard[slot].append(probability)
    mulaw, linear, alaw, again = heard.values()
    assert mulaw == pytest.approx(
        alone(g711.mulaw_to_pcm16(g711.pcm16_to_mulaw(SENTENCE))), abs=1e-5
    )
    assert alaw == pytest.approx(alone(g711.alaw_to_pcm16(g711.pcm16_to_alaw(SENTENCE))), abs=1e-5)
    assert mulaw == pytest.approx(again, abs=1e-5)
    assert np.mean(np.abs(np.array(mulaw) - linear)) < 0.03


def test_calls_come_and_go_without_hearing_each_other() -> None:
    batch = SileroBatch()
    sound = pcm(speech("aeiou"))
    expected = alone(sound)
    for generation in range(3):
        slots = [batch.add(Encoding.PCM16) for _ in range(20 * (generation + 1))]
        assert len(set(slots)) == len(slots) == len(batch)
        late = slots[::2]
        for slot in late:
            batch.push(slot, sound)
        found = batch.run()
        for slot in (late[0], late[-1]):
            mine = [verdict.probability for verdict in found if verdict.slot == slot]
            assert mine == pytest.approx(expected, abs=1e-5)
        assert {verdict.slot for verdict in found} == set(late)
        batch.push(slots[1], sound)
        for slot in slots:
            batch.remove(slot)
        batch.remove(slots[0])
        batch.push(slots[1], sound)
        assert batch.run() == []
        assert len(batch) == 0


def test_a_slot_rests_before_it_is_used_again() -> None:
    batch = SileroBatch()
    first = batch.add()
    batch.remove(first)
    assert batch.add() != first


def test_a_slot_that_is_reset_hears_as_if_new_at_the_same_place() -> None:
    batch = SileroBatch()
    slot = batch.add(Encoding.PCM16)
    batch.push(slot, SENTENCE[: 512 * 30 + 100])
    batch.run()
    batch.reset(slot)
    batch.reset(slot + 1)
    batch.push(slot, SENTENCE)
    found = batch.run()
    assert [verdict.probability for verdict in found] == pytest.approx(alone(SENTENCE), abs=1e-5)
    assert found[0].frame_end_ms == 31 * 32.0


def test_a_loop_that_stands_still_drops_the_oldest_and_keeps_its_place() -> None:
    batch = SileroBatch()
    slot = batch.add(Encoding.PCM16)
    minute = bytes(512 * 1875)
    for at in range(0, len(minute), 5000):
        batch.push(slot, minute[at : at + 5000])
    found = batch.run()
    assert len(found) == 312
    assert [found[0].frame_end_ms, found[-1].frame_end_ms] == [(1875 - 311) * 32.0, 60_000.0]


def test_warming_up_hears_nothing() -> None:
    batch = SileroBatch()
    slot = batch.add()
    batch.warm_up()
    batch.push(slot, bytes(255))
    assert batch.run() == []


def test_the_matrix_library_gets_its_threads_back() -> None:
    count = blas._thread_count()
    if count is None:
        pytest.skip("this numpy computes with a library whose threads nobody can count")
    read, write = count
    before = read()
    try:
        write(2)
        with blas.one_thread:
            assert blas.blas_threads() == 1
        assert blas.blas_threads() == 2
        with pytest.raises(ZeroDivisionError), blas.one_thread:
            _ = 1 / 0
        assert blas.blas_threads() == 2
        alone(SENTENCE[:1024])
        assert blas.blas_threads() == 2
    finally:
        write(before)


def test_a_matrix_library_that_is_not_found_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "_candidates", lambda: [Path("there/is/none.so")])
    blas._thread_count.cache_clear()
    try:
        assert blas.blas_threads() is None
        with blas.one_thread:
            assert np.dot(np.ones(3), np.ones(3)) == 3
    finally:
        blas._thread_count.cache_clear()


# -------------------------------------------------------------------------------- a synthetic voice


def espeak(text: str) -> bytes:
    """Words spoken by espeak-ng at 8 kHz."""
    loader = pytest.importorskip("espeakng_loader")
    library = ctypes.CDLL(str(loader.get_library_path()))
    pieces: list[bytes] = []

    def take(wave: int | None, count: int, _events: int) -> int:
        if wave and count:
            pieces.append(ctypes.string_at(wave, 2 * count))
        return 0

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(take)
    data = str(Path(loader.get_data_path()).parent).encode()
    rate = library.espeak_Initialize(2, 60, data, 0x8000)
    library.espeak_SetSynthCallback(callback)
    library.espeak_SetVoiceByName(b"en-us")
    said = text.encode()
    library.espeak_Synth(said, len(said) + 1, 0, 0, 0, 1, None, None)
    return resampled(b"".join(pieces), rate, 8000)


def test_spoken_words_are_found_where_they_are() -> None:
    words = espeak("Hello, I would like to book a table for two people tomorrow evening.")
    sound = pcm(silence(1000), np.frombuffer(words, "<i2").astype(float), silence(1000))
    gate = SpeechGate()
    edges = [edge for p in alone(sound) if (edge := gate.feed(p, 32)) is not None]
    begin, end = edges[0], edges[-1]
    assert begin.at == pytest.approx(1000, abs=130)
    assert end.at == pytest.approx(1000 + len(words) / 16, abs=400)
    assert all(type(one) is not type(two) for one, two in pairwise(edges))
