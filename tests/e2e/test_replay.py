"""A call that was recorded runs again and sends the same bytes, whatever happened in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from getpatter import Patter
from getpatter.carriers import resumed_wire
from getpatter.cli import main
from getpatter.runtime.recorder import FlightRecorder
from getpatter.runtime.replay import Replay, read_header, replay
from getpatter.testing import time as virtual_time
from getpatter.testing.callers import (
    Caller,
    Step,
    babble,
    cough,
    hang_up,
    hum,
    interrupt_after,
    listen,
    mumble,
    press,
    say,
    wait,
)
from getpatter.testing.line import Conditions
from getpatter.testing.providers import ScriptedSTT, ScriptedTTS
from getpatter.testing.simulation import Simulation

REPLY = "That is a long answer to a short question. It goes on for a while, and then it ends."


async def answer(message: dict[str, Any]) -> AsyncIterator[str]:
    yield f"You said {message['text']}. "
    yield REPLY


async def _call(folder: Path, steps: Sequence[Step], conditions: Conditions) -> None:
    agent = Patter().agent(
        system_prompt="You answer at length.",
        first_message="Hello! What can I do for you?",
        stt=ScriptedSTT(["one", "two", "three", "four"]),
        tts=ScriptedTTS(first_audio_delay=0.13, chunk_delay=0.05, ms_per_letter=30),
        barge_in_threshold_ms=250,
    )
    async with Simulation(
        agent, conditions=conditions, on_message=answer, flight_recorder=folder
    ) as phone:
        await phone.talk(Caller(*steps, wait(700), hang_up(), voice=babble))


def _flown(folder: Path) -> tuple[Path, Replay]:
    FlightRecorder.written()
    (path,) = folder.glob("*.flight.jsonl")
    header = read_header(path)
    return path, replay(path, resumed_wire(header.carrier, header.started))


_STEPS = st.sampled_from(
    [
        ("listen", lambda: listen(patience_s=6)),
        ("say", lambda: say("something with several words")),
        ("interrupt", lambda: interrupt_after(700, patience_s=6)),
        ("cough", cough),
        ("hum", hum),
        ("mumble", mumble),
        ("keys", lambda: press("12#")),
        ("key", lambda: press("1")),
        ("wait", lambda: wait(900)),
    ]
)
_CONDITIONS = st.builds(
    Conditions,
    jitter_ms=st.sampled_from([0.0, 15.0, 120.0]),
    loss=st.sampled_from([0.0, 0.1]),
    late_marks_ms=st.sampled_from([0.0, 80.0]),
    stops_twice=st.booleans(),
    seed=st.integers(0, 9),
)


@settings(max_examples=25)
@given(steps=st.lists(_STEPS, min_size=1, max_size=5), conditions=_CONDITIONS)
def test_any_call_runs_again_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, Any]],
    conditions: Conditions,
) -> None:
    folder = tmp_path_factory.mktemp("flight")
    # Nobody waits for an agent that has finished: a patient step may be in vain.
    script = [_or_in_vain(make()) for _, make in steps]
    virtual_time.run(_call(folder, script, conditions))
    _, flight = _flown(folder)
    assert flight.inputs, "the call was recorded"
    assert flight.first_difference is None
    frames = len(flight.frames_recorded)
    event("the agent spoke" if frames else "nothing was said")


def _or_in_vain(step: Step) -> Step:
    async def tried(handset: Any) -> None:
        with suppress(AssertionError):
            await step(handset)

    return tried


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A call with an answer, an interruption and a key."""
    folder = tmp_path_factory.mktemp("recorded")
    steps = [
        listen(),
        say("hello there"),
        interrupt_after(900),
        say("stop it"),
        listen(),
        press("7"),
    ]
    virtual_time.run(_call(folder, [*steps, listen()], Conditions()))
    return _flown(folder)[0]


def test_the_command_says_that_it_is_the_same(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(recording)]) == 0
    told = capsys.readouterr()
    assert "byte for byte the same" in told.out
    assert "caller   [DTMF: 7]" in told.out
    assert "cut short" in told.out
    assert not told.err


def test_the_recording_is_nobody_elses(recording: Path) -> None:
    assert recording.stat().st_mode & 0o077 == 0


def _with_line_changed(recording: Path, kind: str, folder: Path) -> Path:
    """The recording with one line of a kind left out."""
    lines = recording.read_bytes().splitlines(keepends=True)
    found = [index for index, line in enumerate(lines) if line.startswith(f'["{kind}"'.encode())]
    del lines[found[len(found) // 2]]
    changed = folder / "changed.flight.jsonl"
    changed.write_bytes(b"".join(lines))
    return changed


@pytest.mark.parametrize("kind", ["out", "told"])
def test_the_command_says_that_it_is_not_the_same(
    recording: Path, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = _with_line_changed(recording, kind, tmp_path)
    if kind == "told":  # a line that matters: audio of the agent
        lines = recording.read_bytes().splitlines(keepends=True)
        voiced = next(index for index, line in enumerate(lines) if b'"PieceVoiced"' in line)
        changed.write_bytes(b"".join(lines[:voiced] + lines[voiced + 1 :]))
    assert main(["replay", str(changed)]) == 1
    told = capsys.readouterr()
    assert "byte for byte" not in told.out
    assert told.err.startswith("getpatter: frame ")
    assert told.err.count("\n") == 1


def test_a_recording_that_was_cut_off_is_the_same_up_to_there(
    recording: Path, tmp_path: Path
) -> None:
    """As after `kill -9`: the last line is half a line."""
    data = recording.read_bytes()
    half = tmp_path / "half.flight.jsonl"
    half.write_bytes(data[: len(data) // 2])
    header = read_header(half)
    flight = replay(half, resumed_wire(header.carrier, header.started))
    recorded = flight.frames_recorded
    assert recorded
    assert flight.frames_replayed[: len(recorded)] == recorded


@pytest.mark.parametrize(
    "content",
    [b"", b"{}\n", b"not json\n", b'{"flight": 99}\n'],
)
def test_what_is_no_recording_is_refused(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "some.file"
    path.write_bytes(content)
    assert main(["replay", str(path)]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("getpatter: ")
    assert told.err.count("\n") == 1


def test_a_carrier_that_nobody_knows_is_refused(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _, rest = recording.read_bytes().partition(b"\n")
    header = json.loads(first)
    header["carrier"] = "semaphore"
    path = tmp_path / "other.flight.jsonl"
    path.write_bytes(json.dumps(header).encode() + b"\n" + rest)
    assert main(["replay", str(path)]) == 2
    assert "semaphore" in capsys.readouterr().err


def test_it_is_a_command_of_the_shell(recording: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "getpatter", "replay", str(recording)],
        capture_output=True,
        check=True,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert "byte for byte the same" in run.stdout
    assert not run.stderr
    assert "\x1b" not in run.stdout, "plain where there is no terminal"
