"""`getpatter demo`: a call that goes as it should is told so, and one that does not is told apart.

The calls are real ones, with real sockets and real speech, in virtual time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pytest

pytest.importorskip("pocketsphinx")
pytest.importorskip("espeakng_loader")

from getpatter.audio.g711 import pcm16_to_mulaw
from getpatter.audio.wav import read_wav, wav_bytes
from getpatter.cli.demo_call import (
    Outcome,
    Perform,
    Stage,
    Watcher,
    hold_call,
    recording_steps,
    script_steps,
)
from getpatter.cli.demo_checks import Check, checks_of_recording, checks_of_script, replayed
from getpatter.cli.demo_turns import turns_of
from getpatter.runtime.recorder import FlightRecorder
from getpatter.testing import time as virtual_time
from getpatter.testing.callers import Step, hang_up, interrupt_after, listen, press, say, wait
from getpatter.testing.line import Tape
from getpatter.tts.local import speech

COMMAND: Final = (sys.executable, "-m", "getpatter", "demo")


def _demo(*options: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, options)],
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        text=True,
    )


async def _held(perform: Perform, folder: Path) -> Outcome:
    outcome = await hold_call(perform, folder=folder, watcher=Watcher())
    await asyncio.to_thread(FlightRecorder.written)
    return outcome


def _hold(perform: Perform, folder: Path) -> Outcome:
    return virtual_time.run(_held(perform, folder), real_limit=60)


def _judged(outcome: Outcome, *, is_scripted: bool = True) -> list[Check]:
    assert outcome.tape is not None
    judge = checks_of_script if is_scripted else checks_of_recording
    turns = turns_of(outcome, outcome.tape)
    return asyncio.run(judge(outcome, turns, outcome.tape, replayed(outcome)))


def _failed(checks: Sequence[Check]) -> list[str]:
    return [check.name for check in checks if not check.is_good]


@pytest.fixture(scope="module")
def as_scripted(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The call of the script, held once for several tests."""
    return _hold(script_steps, tmp_path_factory.mktemp("scripted"))


# ---------------------------------------------------------------------------------------- the command


@pytest.mark.timeout(180)
def test_the_command_holds_a_call_and_says_where_it_is(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"  # a proxy for the world outside is not asked about this machine
    run = _demo("--fast", "--keep", tmp_path, HTTP_PROXY=nowhere, ALL_PROXY=nowhere)
    assert run.returncode == 0, run.stdout + run.stderr
    assert not run.stderr
    assert "FAILED" not in run.stdout
    assert "\x1b" not in run.stdout, "plain where there is no terminal"
    assert 'interrupts: "make it thursday instead"' in run.stdout
    assert "You are booked for Thursday morning. Goodbye!" in run.stdout
    (flight,) = tmp_path.glob("*.flight.jsonl")
    assert str(flight) in run.stdout
    sound = (tmp_path / "call.wav").read_bytes()
    assert int.from_bytes(sound[22:24], "little") == 2, "stereo"
    assert 20_000 < read_wav(sound).lasts_ms < 40_000


@pytest.mark.timeout(180)
def test_a_recording_of_the_users_rings_instead(tmp_path: Path) -> None:
    """G.711 as telephones record it; what the desk understands is answered."""
    pcm = asyncio.run(speech("i would like to book an appointment"))
    mulaw = pcm16_to_mulaw(pcm)
    header = bytearray(wav_bytes(b"", 8000))
    header[20:22] = (7).to_bytes(2, "little")
    header[34:36] = (8).to_bytes(2, "little")
    header[40:44] = len(mulaw).to_bytes(4, "little")
    recording, sound = tmp_path / "mine.wav", tmp_path / "elsewhere" / "both.wav"
    recording.write_bytes(bytes(header) + mulaw)
    run = _demo("--fast", "--wav", recording, "--keep", tmp_path / "kept", "--out", sound)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "understood: i would like to book an appointment" in run.stdout
    assert "Which day would you like?" in run.stdout
    assert sound.is_file()
    assert list((tmp_path / "kept").glob("*.flight.jsonl"))


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot read"), (b"hello", "not a WAV file"), (wav_bytes(b"", 8000), "lasts 0 s")],
)
def test_what_cannot_be_played_is_refused_in_one_line(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "some.wav"
    if content is not None:
        path.write_bytes(content)
    run = _demo("--wav", path)
    assert run.returncode == 2
    assert says in run.stderr
    assert run.stderr.count("\n") == 1
    assert "Traceback" not in run.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_it_in_order() -> None:
    """In mid-call: status 130, one line, and no process or traceback left."""
    demo = subprocess.Popen(
        COMMAND, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert demo.stdout is not None
    while "rings" not in demo.stdout.readline():
        assert demo.poll() is None
    demo.send_signal(signal.SIGINT)
    _, told = demo.communicate(timeout=30)
    assert demo.returncode == 130
    assert told == "getpatter: interrupted\n"


# --------------------------------------------------------------------------------------- the judgement


@pytest.mark.timeout(180)
def test_a_call_as_scripted_passes_every_check(as_scripted: Outcome) -> None:
    checks = _judged(as_scripted)
    assert not _failed(checks)
    assert len(checks) >= 12
    assert [act.what for act in as_scripted.acts if act.is_interruption] == [
        "make it thursday instead"
    ]
    assert as_scripted.tape is not None
    turns = turns_of(as_scripted, as_scripted.tape)
    assert len(turns) == 6, "the greeting and five turns"
    assert all(turn.answered_ms is not None and turn.answered_ms > 100 for turn in turns[1:])
    assert [turn.was_cut for turn in turns] == [False, False, True, False, False, False]


def _damaged(tape: Tape, start_s: float, end_s: float) -> Tape:
    """The same call with a hole in what the caller heard."""
    heard = np.frombuffer(tape.heard, np.int16).copy()
    heard[int(start_s * tape.sample_rate) : int(end_s * tape.sample_rate)] = 0
    copy = Tape.__new__(Tape)
    copy.sample_rate, copy.said, copy.heard = tape.sample_rate, tape.said, heard.tobytes()
    return copy


def test_a_hole_in_the_goodbye_is_noticed(as_scripted: Outcome) -> None:
    tape = as_scripted.tape
    assert tape is not None
    ends = tape.heard_spans()[-1].end / tape.sample_rate
    damaged = replace(as_scripted, tape=_damaged(tape, ends - 0.35, ends - 0.05))
    failed = _failed(_judged(damaged))
    assert failed == ["'yes that is right' was answered"]


def test_a_silent_line_is_noticed(as_scripted: Outcome) -> None:
    tape = as_scripted.tape
    assert tape is not None
    damaged = replace(as_scripted, tape=_damaged(tape, 0, 1000))
    assert len(_failed(_judged(damaged))) == 6, "the greeting, four answers, the interruption"


def test_a_flight_recording_that_differs_is_noticed(as_scripted: Outcome, tmp_path: Path) -> None:
    assert as_scripted.flight is not None
    changed = tmp_path / as_scripted.flight.name
    lines = as_scripted.flight.read_bytes().splitlines(keepends=True)
    voiced = next(index for index, line in enumerate(lines) if b'"PieceVoiced"' in line)
    changed.write_bytes(b"".join(lines[:voiced] + lines[voiced + 1 :]))
    failed = _failed(_judged(replace(as_scripted, flight=changed)))
    assert failed == ["run again, it sends the same bytes"]
    assert "there is a flight recording" in _failed(_judged(replace(as_scripted, flight=None)))


def _mumbles(stage: Stage) -> Sequence[Step]:
    """As the script, but the desk is told another day than the script says."""
    return [
        listen(),
        stage.act(
            say("i would like to book an appointment"), "i would like to book an appointment"
        ),
        listen(),
        stage.act(say("on tuesday please"), "on tuesday please"),
        interrupt_after(2500),
        stage.act(say("make it friday instead"), "make it thursday instead", interrupts=True),
        listen(),
        stage.act(press("1"), "1", is_key=True),
        listen(),
        stage.act(say("yes that is right"), "yes that is right"),
    ]


@pytest.mark.timeout(180)
def test_what_was_understood_wrongly_is_noticed(tmp_path: Path) -> None:
    checks = _judged(_hold(_mumbles, tmp_path))
    failed = _failed(checks)
    assert "'make it thursday instead' was answered" in failed
    assert "'yes that is right' was answered" in failed
    (told,) = (check.detail for check in checks if "thursday" in check.name)
    assert "heard 'Friday then." in told
    assert "understood: 'make it friday instead'" in told


def _gives_up(stage: Stage) -> Sequence[Step]:
    return [
        listen(),
        stage.act(
            say("i would like to book an appointment"), "i would like to book an appointment"
        ),
        wait(500),
        hang_up(),
    ]


@pytest.mark.timeout(180)
def test_a_caller_who_gives_up_is_noticed(tmp_path: Path) -> None:
    failed = _failed(_judged(_hold(_gives_up, tmp_path)))
    assert "the call ended in order" in failed
    assert "the caller came through the script" in failed
    assert "the agent hung up after its goodbye" in failed


@pytest.mark.timeout(180)
def test_foreign_speech_is_survived_and_told(tmp_path: Path) -> None:
    """None of it is in the grammar: the call works all the same, and nothing is pretended."""
    pcm = asyncio.run(speech("the quick brown fox jumps over the lazy dog", voice="de"))
    outcome = _hold(recording_steps(pcm), tmp_path)
    assert not _failed(_judged(outcome, is_scripted=False))
    assert outcome.status == "completed"
    assert outcome.end["reason"] == "caller_hangup"
    assert outcome.tape is not None
    _, turn = turns_of(outcome, outcome.tape)
    flight = replayed(outcome)
    assert flight is not None
    assert turn.understood == [said.text for said in flight.understood if said.text]
