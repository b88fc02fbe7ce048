"""The sound behind the agent: what may be asked for, how it is made, mixed and sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from getpatter import BackgroundAudioPlayer, BuiltinAudioClip
from getpatter.audio import mulaw_to_pcm16, pcm16_to_mulaw
from getpatter.audio.ambience import RATE, clip, clip_names
from getpatter.audio.bed import BackgroundBed
from getpatter.audio.wav import wav_bytes
from getpatter.background_audio import BackgroundSound
from getpatter.core.manners import Background
from getpatter.core.playout import BED_LEAD_MS, Audio, Mark, Playout
from getpatter.runtime.background import bed_for
from getpatter.types import ALAW_8K, MULAW_8K, PCM16_8K, PCM16_16K, AudioFormat, Instant


def tone(hz: float, rate: int, lasts_s: float = 2.0) -> Any:
    return (10000 * np.sin(2 * np.pi * hz * np.arange(round(rate * lasts_s)) / rate)).astype(
        np.float32
    )


def humming(stream: AudioFormat = MULAW_8K, **options: Any) -> BackgroundBed:
    given: dict[str, Any] = {"volume": 0.1, "is_looped": True} | options
    return BackgroundBed(lambda rate: [tone(400, rate)], stream, **given)


def samples(data: bytes, stream: AudioFormat = MULAW_8K) -> Any:
    return np.frombuffer(mulaw_to_pcm16(data) if stream == MULAW_8K else data, "<i2")


def loudness(data: bytes) -> float:
    return float(np.sqrt(np.mean(samples(data).astype(float) ** 2)))


# ----------------------------------------------------------------------------------------- the clips


@pytest.mark.parametrize("name", [*BuiltinAudioClip])
def test_every_clip_is_there_the_same_each_time_loud_enough_and_without_a_seam(name: str) -> None:
    sound = clip(name)
    assert sound.size == 12 * RATE
    assert np.array_equal(sound, clip(name))
    level_db = 20 * np.log10(np.sqrt(np.mean(sound**2)) / 32768)
    assert -33 < level_db < -14
    assert np.abs(sound).max() < 32767
    assert abs(sound[0] - sound[-1]) <= np.abs(np.diff(sound)).max()


def test_the_clips_are_those_that_can_be_named() -> None:
    assert set(clip_names()) == {each.value for each in BuiltinAudioClip}


def test_no_two_clips_sound_alike() -> None:
    spectra = []
    for name in clip_names():
        power = np.abs(np.fft.rfft(clip(name)[: 8 * RATE])) ** 2
        spectra.append(np.log(power.reshape(-1)[:64000].reshape(64, -1).mean(axis=1) + 1))
    for i, one in enumerate(spectra):
        for other in spectra[i + 1 :]:
            assert np.abs(one - other).max() > 0.5


# ---------------------------------------------------------------------------------------- what is asked


def test_a_source_is_a_clip_a_file_or_a_list(tmp_path: Path) -> None:
    file = tmp_path / "rain.wav"
    file.write_bytes(wav_bytes(bytes(3200), sample_rate=8000))
    assert BackgroundAudioPlayer(BuiltinAudioClip.HOLD_MUSIC).sounds == (
        BackgroundSound(clip="hold_music"),
    )
    player = BackgroundAudioPlayer(
        [(BuiltinAudioClip.OFFICE_AMBIENCE, 3), str(file), (file, 0.5)], volume=0.2, loop=True
    )
    assert [each.weight for each in player.sounds] == [3.0, 1.0, 0.5]
    assert player.sounds[1].path == str(file)
    assert (player.volume, player.loop) == (0.2, True)


@pytest.mark.parametrize(
    ("source", "options", "error", "says"),
    [
        ("no-such.wav", {}, ValueError, "no such file"),
        (__file__, {}, ValueError, "is not a WAV file"),
        (5, {}, TypeError, "not int"),
        ([], {}, ValueError, "at least one"),
        ([(BuiltinAudioClip.HOLD_MUSIC, 0)], {}, ValueError, "more than 0"),
        ([(BuiltinAudioClip.HOLD_MUSIC, "2")], {}, TypeError, "must be a number"),
        ([(BuiltinAudioClip.HOLD_MUSIC,)], {}, ValueError, "is \\(source, weight\\)"),
        (BuiltinAudioClip.HOLD_MUSIC, {"volume": 1.5}, ValueError, "0 to 1"),
        (BuiltinAudioClip.HOLD_MUSIC, {"volume": "loud"}, TypeError, "must be a number"),
        (BuiltinAudioClip.HOLD_MUSIC, {"loop": 1}, TypeError, "must be bool"),
    ],
)
def test_mistakes_are_told_before_a_phone_rings(
    source: Any, options: Any, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        BackgroundAudioPlayer(source, **options)


# ------------------------------------------------------------------------------------------- one call


def test_each_call_has_its_own_place_in_the_sound() -> None:
    one, other = humming(), humming()
    first = one.alone(325)
    assert one.alone(325) != first
    assert other.alone(325) == first


@pytest.mark.parametrize("stream", [MULAW_8K, ALAW_8K, PCM16_8K, PCM16_16K])
def test_the_voice_keeps_its_length_and_its_loudness(stream: AudioFormat) -> None:
    bed = humming(stream)
    silence = stream.silence * round(stream.sample_rate / 10)
    assert len(bed.under(silence)) == len(silence)
    assert len(bed.alone(len(silence))) == len(silence)


def test_what_is_mixed_is_the_sum_and_too_loud_saturates() -> None:
    voice = np.full(800, 8000, "<i2").tobytes()
    mixed = samples(humming(PCM16_8K).under(voice), PCM16_8K)
    assert np.abs(mixed - (8000 + 0.1 * tone(400, 8000)[:800])).max() <= 1
    loud = np.full(800, 32000, "<i2").tobytes()
    assert samples(humming(PCM16_8K, volume=1.0).under(loud), PCM16_8K).max() == 32767


def test_a_sound_that_is_heard_once_ends_and_leaves_the_voice_untouched() -> None:
    bed = humming(is_looped=False)
    assert len(bed.alone(15_900)) == 15_900
    assert len(bed.alone(320)) == 320  # the last 100 samples, then silence
    assert bed.alone(320) == b""
    voice = pcm16_to_mulaw(np.full(160, 4000, "<i2").tobytes())
    assert bed.under(voice) is voice


def test_a_loop_goes_round_without_a_gap() -> None:
    bed = humming(PCM16_8K)
    heard = samples(b"".join(bed.alone(640) for _ in range(200)), PCM16_8K)
    assert np.abs(np.diff(heard.astype(int))).max() <= 1000 * 2 * np.pi * 400 / 8000 + 2


def test_a_list_is_played_by_weight_and_the_same_again_for_the_same_call() -> None:
    def chosen(seed: int) -> int:
        def sounds(rate: int) -> list[Any]:
            return [np.full(rate, 1000 * (k + 1), np.float32) for k in range(2)]

        bed = BackgroundBed(sounds, PCM16_8K, weights=(3, 1), volume=1.0, seed=seed)
        return int(samples(bed.alone(2), PCM16_8K)[0]) // 1000 - 1

    lots = [chosen(seed) for seed in range(400)]
    assert lots == [chosen(seed) for seed in range(400)]
    assert 0.15 < sum(lots) / len(lots) < 0.35


def test_another_stream_goes_on_from_the_same_place() -> None:
    bed = humming(PCM16_8K)
    bed.alone(2 * 1001)
    wide = bed.in_format(PCM16_16K)
    heard = samples(wide.alone(640), PCM16_16K)
    assert np.abs(heard - 0.1 * tone(400, 16000)[2002 : 2002 + 320]).max() <= 1


def test_a_clip_made_for_the_phone_has_no_seam_either() -> None:
    bed = bed_for(
        Background((BackgroundSound(clip="hold_music"),), volume=0.5, is_looped=True), PCM16_8K
    )
    assert bed is not None
    heard = samples(bed.alone(2 * 8000 * 13), PCM16_8K).astype(int)
    seam = slice(12 * 8000 - 40, 12 * 8000 + 40)
    assert np.abs(np.diff(heard[seam])).max() <= np.abs(np.diff(heard)).max() / 2


def test_a_file_that_has_gone_is_no_reason_to_lose_a_call(tmp_path: Path) -> None:
    gone = Background((BackgroundSound(path=str(tmp_path / "gone.wav")),), 0.1, is_looped=True)
    assert bed_for(gone, MULAW_8K) is None


# -------------------------------------------------------------------------------------- how it is sent


def running(**options: Any) -> Playout:
    return Playout(MULAW_8K, bed=humming(), **options)


def drive(playout: Playout, begin: float, end: float) -> tuple[float, float, list[str]]:
    """Milliseconds of speech and of background that left between two instants, and the marks."""
    speech = alone = 0.0
    marks: list[str] = []
    now = begin
    for _ in range(10_000):
        for out in playout.pull(Instant(now)):
            if isinstance(out, Mark):
                marks.append(out.name)
            elif out.is_speech:
                speech += len(out.data) / 8
            else:
                alone += len(out.data) / 8
        due = playout.next_send(Instant(now))
        if due is None or due > end:
            return speech, alone, marks
        assert due > now
        now = due
    raise AssertionError("it never rests")


def test_the_background_fills_the_pauses_at_the_speed_of_sound() -> None:
    speech, alone, marks = drive(running(), 0.0, 10.0)
    assert speech == 0
    assert 10_000 < alone <= 10_000 + BED_LEAD_MS
    assert marks == []


def test_speech_waits_a_tenth_of_a_second_behind_it_at_most_and_is_told_apart() -> None:
    playout = running()
    drive(playout, 0.0, 3.0)
    playout.begin(1)
    playout.add(b"\xff" * 8 * 1000)
    playout.finish()
    assert playout.spans[-1].starts_ms - 3000 <= BED_LEAD_MS
    assert not playout.is_silent(Instant(3.0))
    sent = [out for out in playout.pull(Instant(3.0)) if isinstance(out, Audio) and out.is_speech]
    assert sent
    assert loudness(sent[0].data) == pytest.approx(1000 / 2**0.5, rel=0.1)  # silence, and the hum


def test_the_agent_is_silent_once_its_words_were_heard_though_the_background_goes_on() -> None:
    playout = running()
    drive(playout, 0.0, 1.0)
    playout.begin(1)
    playout.add(b"\xff" * 8 * 500)
    playout.finish()
    _, _, marks = drive(playout, 1.0, 1.3)
    assert marks
    assert not playout.is_silent(Instant(1.3))
    for name in marks:
        playout.marked(name, Instant(1.7))
    drive(playout, 1.7, 1.8)
    assert playout.is_silent(Instant(1.8))
    assert playout.silent_at(Instant(1.8)) == 1.8
    assert playout.next_send(Instant(1.8)) is not None


def test_clear_drops_the_words_and_the_background_is_there_again_at_once() -> None:
    playout = running()
    playout.begin(1)
    playout.add(b"\xff" * 8 * 3000)
    drive(playout, 0.0, 1.0)
    assert playout.clear(Instant(1.0)) == pytest.approx(500)  # held at a mark that is still out
    (again,) = {out.is_speech for out in playout.pull(Instant(1.0)) if isinstance(out, Audio)}
    assert not again


def test_words_taken_back_come_again_without_what_was_behind_them() -> None:
    playout = running(can_pause=True)
    drive(playout, 0.0, 1.0)
    playout.begin(1)
    words = bytes(range(1, 251)) * 16
    playout.add(words)
    playout.finish()
    _, _, marks = drive(playout, 1.0, 1.2)
    for name in marks:
        playout.marked(name, Instant(1.2))
    heard = playout.heard_ms(Instant(1.2)) - playout.spans[-1].starts_ms
    playout.pause(Instant(1.2))
    drive(playout, 1.2, 2.0)
    assert playout.queued_ms == pytest.approx(500 - max(0.0, heard), abs=1)
    playout.bed = None
    playout.resume()
    out = b"".join(o.data for o in playout.pull(Instant(2.5)) if isinstance(o, Audio))
    assert out == words[-round(playout.format.size(500 - max(0.0, heard))) :][: len(out)]


def test_nobody_there_nothing_played() -> None:
    playout = running()
    drive(playout, 0.0, 1.0)
    playout.is_listened_to = False
    assert playout.pull(Instant(5.0)) == []
    assert playout.next_send(Instant(5.0)) is None


def test_a_sound_that_ends_leaves_the_playout_as_it_was_without() -> None:
    playout = Playout(MULAW_8K, bed=humming(is_looped=False))
    _, alone, _ = drive(playout, 0.0, 10.0)
    assert alone == pytest.approx(2000, abs=40)
    assert playout.next_send(Instant(10.0)) is None
