"""Mixing, keypad tones and WAV files."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from getpatter.audio.dtmf import DtmfDetector, tones
from getpatter.audio.mix import mix_pcm
from getpatter.audio.pcm import swapped_bytes
from getpatter.audio.resample import resampled
from getpatter.audio.wav import WavAudio, WavWriter, interleaved, read_wav, wav_bytes, wav_header


def pcm(*samples: int) -> bytes:
    return np.array(samples, "<i2").tobytes()


def test_mixing_adds_a_share_of_the_background() -> None:
    assert mix_pcm(pcm(100, -100, 0), pcm(50, 50, 50), 0.5) == pcm(125, -75, 25)


def test_mixing_rounds_to_the_nearest_sample() -> None:
    assert mix_pcm(pcm(0, 0, 0, 0), pcm(6, 4, -6, -4), 0.1) == pcm(1, 0, -1, 0)


def test_mixing_saturates() -> None:
    assert mix_pcm(pcm(30000, -30000), pcm(30000, -30000), 1.0) == pcm(32767, -32768)


@pytest.mark.parametrize(
    ("bg", "mixed"), [((), (1, 2, 3)), ((10,), (11, 2, 3)), ((10, 10, 10, 10), (11, 12, 13))]
)
def test_the_mix_is_as_long_as_the_voice(bg: tuple[int, ...], mixed: tuple[int, ...]) -> None:
    assert mix_pcm(pcm(1, 2, 3), pcm(*bg), 1.0) == pcm(*mixed)


def test_bytes_are_swapped_for_network_order() -> None:
    assert swapped_bytes(b"\x01\x02\x03\x04") == b"\x02\x01\x04\x03"


ALL_KEYS = "0123456789ABCD*#"


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_every_key_is_heard_once(rate: int) -> None:
    assert DtmfDetector(rate).push(tones(ALL_KEYS, rate)) == ALL_KEYS


def test_keys_are_heard_in_chunks_of_any_size_and_after_each_other() -> None:
    sound = tones("5w55,9")
    detector = DtmfDetector()
    assert (
        "".join(detector.push(sound[at : at + 321]) for at in range(0, len(sound), 321)) == "5559"
    )


def test_keys_are_heard_behind_noise_and_at_another_level() -> None:
    rng = np.random.default_rng(3)
    sound = np.frombuffer(tones(ALL_KEYS), "<i2") * 0.2
    noisy = (sound + rng.normal(0, 200, sound.size)).astype("<i2").tobytes()
    assert DtmfDetector().push(noisy) == ALL_KEYS


def test_tones_have_their_level_and_length() -> None:
    key = tones("1", on_ms=100, gap_ms=50)
    assert len(key) == 2 * 8 * 150
    sound = np.frombuffer(key, "<i2")[80:720].astype(float)
    at = 2 * np.pi * np.arange(sound.size) / 8000
    basis = np.stack([f(h * at) for h in (697, 1209) for f in (np.cos, np.sin)], axis=1)
    weights, *_ = np.linalg.lstsq(basis, sound, rcond=None)
    for level in (np.hypot(*weights[:2]), np.hypot(*weights[2:])):
        assert 20 * np.log10(level / 32768) == pytest.approx(-10, abs=0.1)
    assert not np.frombuffer(key, "<i2")[800:].any()


def test_a_held_key_counts_once_and_a_short_click_not_at_all() -> None:
    assert DtmfDetector().push(tones("7", on_ms=1000)) == "7"
    assert DtmfDetector().push(tones("7", on_ms=25)) == ""


def test_other_sounds_are_no_keys() -> None:
    rng = np.random.default_rng(4)
    at = np.arange(16000) / 8000
    sounds = [
        rng.normal(0, 6000, 16000),
        12000 * np.sin(2 * np.pi * 697 * at),
        12000 * np.sin(2 * np.pi * 440 * at) + 9000 * np.sin(2 * np.pi * 350 * at),
        12000 * np.sin(2 * np.pi * 697 * at) + 1000 * np.sin(2 * np.pi * 1209 * at),
        np.zeros(16000),
    ]
    for sound in sounds:
        assert DtmfDetector().push(sound.astype("<i2").tobytes()) == ""


def test_what_is_no_key_is_refused() -> None:
    with pytest.raises(ValueError, match="not a key"):
        tones("12x")
    assert tones("") == b""


def wav(
    encoding: int, bits: int, channels: int, rate: int, data: bytes, extra: bytes = b""
) -> bytes:
    frame = channels * bits // 8
    body = struct.pack("<HHIIHH", encoding, channels, rate, rate * frame, frame, bits) + extra
    chunks = (
        b"fmt " + struct.pack("<I", len(body)) + body + b"LIST" + struct.pack("<I", 3) + b"abc\0"
    )
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


EXTENSIBLE = struct.pack("<HHIH14s", 22, 16, 4, 1, b"\0" * 14)


@pytest.mark.parametrize(
    ("file", "samples"),
    [
        (wav(1, 16, 1, 8000, pcm(1, -2, 32767)), (1, -2, 32767)),
        (wav(1, 16, 2, 8000, pcm(10, 20, -10, -30)), (15, -20)),
        (wav(1, 8, 1, 8000, bytes([0, 128, 255])), (-32768, 0, 32512)),
        (wav(1, 24, 1, 8000, b"\x00\x01\x00\x00\x00\x80"), (1, -32768)),
        (wav(1, 32, 1, 8000, struct.pack("<2i", 65536 * 5, -(2**31))), (5, -32768)),
        (wav(3, 32, 1, 8000, struct.pack("<3f", 0.5, -1.0, 2.0)), (16384, -32768, 32767)),
        (wav(3, 64, 1, 8000, struct.pack("<2d", 0.25, float("nan"))), (8192, 0)),
        (wav(7, 8, 1, 8000, b"\x80\xff"), (32124, 0)),
        (wav(6, 8, 1, 8000, b"\xaa\xd5"), (32256, 8)),
        (wav(0xFFFE, 16, 1, 8000, pcm(4), EXTENSIBLE), (4,)),
    ],
    ids=["16", "stereo", "8", "24", "32", "float", "double", "mulaw", "alaw", "extensible"],
)
def test_wav_files_of_every_usual_kind_are_read(file: bytes, samples: tuple[int, ...]) -> None:
    assert read_wav(file) == WavAudio(pcm(*samples), 8000)


def test_a_recording_of_another_program_is_read_at_its_rate() -> None:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(22050)
        writer.writeframes(bytes(44100))
    audio = read_wav(file.getvalue())
    assert (audio.sample_rate, audio.lasts_ms) == (22050, 1000.0)


def test_a_file_that_was_cut_short_or_streamed_is_read_as_far_as_it_goes() -> None:
    whole = wav_bytes(pcm(*range(100)), 8000)
    assert read_wav(whole[:-3]).pcm == pcm(*range(98))
    assert read_wav(wav_header(0, 8000) + pcm(1, 2)).pcm == pcm(1, 2)
    assert read_wav(wav_header(0xFFFFFFFF, 8000) + pcm(1, 2)).pcm == pcm(1, 2)


@pytest.mark.parametrize(
    ("rubbish", "why"),
    [
        (b"", "not a WAV file"),
        (b"ID3\x04mp3 music", "not a WAV file"),
        (b"RIFF\0\0\0\0WAVE", "no sound"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "before its format"),
        (b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0\x01\0", "cut short"),
        (wav(2, 4, 1, 8000, b"1234"), "encoding 2 with 4 bit"),
        (wav(1, 16, 0, 8000, b""), "0 channels"),
        (wav(1, 16, 1, 0, b""), "at 0 Hz"),
    ],
)
def test_rubbish_is_refused_with_a_reason(rubbish: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_wav(rubbish)


@given(st.binary(max_size=80), st.integers(0, 60))
def test_no_file_breaks_the_reader(rubbish: bytes, at: int) -> None:
    file = wav(1, 24, 3, 8000, bytes(30))
    for broken in (rubbish, file[:at] + rubbish + file[at + len(rubbish) :]):
        try:
            audio = read_wav(broken)
        except ValueError as exc:
            assert "WAV" in str(exc)  # noqa: PT017 - it need not raise
        else:
            assert len(audio.pcm) % 2 == 0


def read_stereo(data: bytes) -> tuple[int, int, bytes]:
    with wave.open(io.BytesIO(data)) as reader:
        return reader.getnchannels(), reader.getframerate(), reader.readframes(reader.getnframes())


def test_a_finished_recording_is_a_stereo_wav() -> None:
    file = io.BytesIO(b"before")
    file.seek(6)
    writer = WavWriter(file, 8000)
    writer.write_stereo(pcm(1, 2), pcm(-1))
    writer.write_stereo(pcm(3), pcm(-3))
    writer.finish()
    writer.write_stereo(pcm(4), pcm(-4))
    writer.finish()
    assert file.getvalue()[:6] == b"before"
    sound = pcm(1, -1, 2, 0, 3, -3, 4, -4)
    assert read_stereo(file.getvalue()[6:]) == (2, 8000, sound)
    assert writer.written == len(sound)


def test_a_process_that_dies_leaves_all_but_the_last_second() -> None:
    file = io.BytesIO()
    writer = WavWriter(file, 8000)
    second = interleaved(bytes(16000), bytes(16000))
    for _ in range(150):
        writer.write(second[: len(second) // 50])
    left = file.getvalue()
    # No `finish`: other programs read what the header tells.
    _, _, sound = read_stereo(left)
    assert len(sound) == 3 * len(second)
    writer.write(second[:4])
    _, _, sound = read_stereo(file.getvalue())
    assert len(sound) == 3 * len(second)


def test_a_recording_beyond_the_limit_of_the_format_keeps_a_valid_header() -> None:
    assert wav_header(2**33, 8000)[4:8] == wav_header(2**33, 8000)[40:44] == b"\xff\xff\xff\xff"


def test_speech_like_sound_presses_no_key() -> None:
    rng = np.random.default_rng(5)
    at = np.arange(5 * 8000) / 8000
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * at)
    phase = 2 * np.pi * np.cumsum(pitch) / 8000
    voice = sum(np.sin(k * phase) / k for k in range(1, 20)) * (1 + np.sin(2 * np.pi * 4 * at))
    sound = (6000 * voice + rng.normal(0, 50, at.size)).clip(-32768, 32767).astype("<i2").tobytes()
    assert DtmfDetector().push(sound) == ""
    assert DtmfDetector(16000).push(resampled(sound, 8000, 16000)) == ""
