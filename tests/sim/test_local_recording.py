"""The recording that is kept on this machine, beside the tapes of the simulated carriers: in virtual time."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import stat
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from getpatter.agent import Agent, build_agent
from getpatter.config import platform_data_dir
from getpatter.dashboard.store import MetricsStore
from getpatter.net.messages import Exchange
from getpatter.runtime.local_recording import RecordingPlace
from getpatter.server.phone import PhoneServer, Serving
from getpatter.testing.callers import (
    Caller,
    Interrupter,
    Polite,
    Program,
    babble,
    hang_up,
    listen,
    say,
    wait,
)
from getpatter.testing.line import Conditions, spans
from getpatter.testing.network import InMemory
from getpatter.testing.plivo import SimulatedPlivo
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.telnyx import Habits, SimulatedTelnyx
from getpatter.testing.time import in_virtual_time
from getpatter.testing.twilio import SimulatedTwilio
from getpatter.types import ALAW_8K

_T = TypeVar("_T")
RATE = 16000


class Desk:
    """The carrier's REST API, without a socket."""

    def __init__(self, simulated: Any) -> None:
        self._simulated = simulated

    async def run(self, exchange: Exchange[_T]) -> _T:
        result: _T = await self._simulated.run(exchange)
        return result

    async def aclose(self) -> None:
        """Nothing to give back."""


def agent(*heard: str, **options: Any) -> Agent:
    given: dict[str, Any] = {
        "stt": ScriptedSTT(heard),
        "tts": ScriptedTTS(),
        "llm": ScriptedLLM(["Of course, on Monday at nine."]),
        "first_message": "Welcome to the clinic, how can we help you today?",
    } | options
    return build_agent("You are the desk of a clinic.", None, **given)


async def recorded(
    simulated: Any, person: Program, wanted: object, *, who: Agent | None = None, **serving: Any
) -> tuple[Any, Mapping[str, Any]]:
    """One incoming call, recorded; returns the carrier's call, and what `on_call_end` was told."""
    ends: list[Mapping[str, Any]] = []
    ended = asyncio.Event()

    def on_call_end(event: Mapping[str, Any]) -> None:
        path = str(event.get("recording_path", ""))
        if path:  # complete by now
            Path(path).read_bytes()
        ends.append(event)
        ended.set()

    async with simulated:
        server = PhoneServer(
            Serving(
                agent=who or agent("an appointment please"),
                host="agent.example",
                phone_number=simulated.number,
                on_call_end=on_call_end,
                local_recording=RecordingPlace.of(wanted, serving.get("persist_root")),
                **serving,
            ),
            simulated.carrier(),
            http=Desk(simulated),
        )
        simulated.network.app = server
        server.open()
        await server.point_number()
        try:
            call = simulated.ring(person)
            await call.ended(within_s=600)
            async with asyncio.timeout(60):
                await ended.wait()
        finally:
            await server.stop()
    return call, ends[0]


class Lazy(InMemory):
    """A network to a server that is made later."""

    def __init__(self) -> None:
        self.app: Any = None

        async def to_server(scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

        super().__init__(to_server)


def company(name: str, **options: Any) -> Any:
    given: dict[str, Any] = {"listens": False, "network": Lazy()} | options
    kinds: dict[str, Any] = {
        "twilio": SimulatedTwilio,
        "telnyx": SimulatedTelnyx,
        "plivo": SimulatedPlivo,
    }
    return kinds[name](**given)


def sides(path: object) -> tuple[bytes, bytes]:
    """Caller and agent, 16 kHz."""
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, RATE, 2)
        both = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    return both[:, 0].tobytes(), both[:, 1].tobytes()


def voiced(pcm: bytes, rate: int, gap_ms: float = 300.0) -> list[tuple[float, float]]:
    """From when to when somebody speaks, in milliseconds."""
    return [
        (each.start * 1000 / rate, each.end * 1000 / rate)
        for each in spans(pcm, rate, gap_ms=gap_ms)
    ]


def assert_alike(ours: bytes, theirs: bytes, their_rate: int, *, within_ms: float) -> None:
    """The same stretches of sound at the same times, but for the way to the carrier and back."""
    mine, tape = voiced(ours, RATE), voiced(theirs, their_rate)
    assert len(mine) == len(tape) > 0, (mine, tape)
    for (starts, ends), (starts_there, ends_there) in zip(mine, tape, strict=True):
        assert abs(starts - starts_there) <= within_ms, (mine, tape)
        assert abs(ends - ends_there) <= within_ms, (mine, tape)


def below(folder: Path, pattern: str) -> list[Path]:
    """The files of that pattern."""
    return sorted(folder.glob(pattern))


def mode(path: Path) -> int:
    """Who may do what with it."""
    return stat.S_IMODE(path.stat().st_mode)


FORMATS = pytest.mark.parametrize(
    ("name", "options"),
    [
        ("twilio", {}),
        ("plivo", {}),
        ("telnyx", {}),
        ("telnyx", {"habits": Habits(byte_order="big")}),
        ("telnyx", {"habits": Habits(announces=ALAW_8K)}),
        ("telnyx", {"habits": Habits(fails_l16=True)}),
    ],
    ids=["twilio", "plivo", "telnyx", "telnyx big-endian", "telnyx a-law", "telnyx mu-law"],
)


@FORMATS
@in_virtual_time
async def test_both_sides_are_where_the_carrier_heard_them(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    carrier = company(name, **options)
    call, end = await recorded(carrier, Polite("an appointment please", voice=babble), tmp_path)
    caller, heard = sides(end["recording_path"])
    tape = call.tape()
    assert_alike(heard, tape.heard, tape.sample_rate, within_ms=120)
    assert_alike(caller, tape.said, tape.sample_rate, within_ms=120)
    assert len(caller) / 2 / RATE == pytest.approx(call.duration_s, abs=1.0)
    assert not carrier.problems


@in_virtual_time
async def test_what_an_interruption_cut_off_is_not_in_it(tmp_path: Path) -> None:
    greeting = " ".join(["This is a very long greeting about opening hours and prices."] * 4)
    call, end = await recorded(
        company("twilio"),
        Interrupter("stop please", after_ms=2000, voice=babble),
        tmp_path,
        who=agent("stop please", first_message=greeting),
    )
    _, heard = sides(end["recording_path"])
    tape = call.tape()
    began, ended = voiced(heard, RATE)[0]
    assert ended - began < 4000  # of twelve seconds or more
    assert_alike(heard, tape.heard, tape.sample_rate, within_ms=200)


@in_virtual_time
async def test_a_bad_line_makes_no_holes_in_the_agents_words(tmp_path: Path) -> None:
    call, end = await recorded(
        company("twilio", conditions=Conditions(jitter_ms=150)),
        Polite("an appointment please", voice=babble),
        tmp_path,
    )
    _, heard = sides(end["recording_path"])
    tape = call.tape()
    assert_alike(heard, tape.heard, tape.sample_rate, within_ms=500)
    mine, theirs = (
        sum(end - start for start, end in voiced(pcm, rate, gap_ms=60))
        for pcm, rate in ((heard, RATE), (tape.heard, tape.sample_rate))
    )
    assert mine == pytest.approx(theirs, rel=0.1)


@in_virtual_time
async def test_it_lies_beside_the_other_files_of_a_call_that_is_kept(tmp_path: Path) -> None:
    store = MetricsStore()
    _, end = await recorded(
        company("twilio"),
        Caller(wait(3000), hang_up(), voice=babble),
        True,
        persist_root=tmp_path,
        store=store,
    )
    path = Path(end["recording_path"])
    (folder,) = below(tmp_path, "calls/*/*/*/*")
    assert path == folder / "recording.wav"
    assert mode(path) == 0o600
    assert mode(folder) == 0o700
    assert json.loads((folder / "metadata.json").read_text())["recording_path"] == str(path)
    for records in (store, MetricsStore()):
        records.hydrate(tmp_path)
        record = records.get_call(end["call_id"])
        assert record is not None
        assert record["recording_path"] == str(path)


@in_virtual_time
async def test_a_directory_gets_a_file_a_call(tmp_path: Path) -> None:
    folder = tmp_path / "tapes" / "of mine"
    old = os.umask(0)
    try:
        _, end = await recorded(
            company("plivo"), Caller(wait(2000), hang_up(), voice=babble), str(folder)
        )
    finally:
        os.umask(old)
    path = Path(end["recording_path"])
    assert path.parent == folder
    assert path.suffix == ".wav"
    assert mode(path) == 0o600
    assert mode(folder) == 0o700


@in_virtual_time
async def test_nothing_is_recorded_unless_it_is_asked_for(tmp_path: Path) -> None:
    _, end = await recorded(
        company("twilio"), Caller(wait(2000), hang_up()), False, persist_root=tmp_path
    )
    assert "recording_path" not in end
    assert not below(tmp_path, "**/*.wav")


@in_virtual_time
async def test_it_grows_during_the_call_and_can_be_played_at_any_time(tmp_path: Path) -> None:
    lengths: list[float] = []

    async def watch() -> None:
        while True:
            await asyncio.sleep(5)
            (path,) = below(tmp_path, "*.wav")
            caller, _ = sides(path)
            lengths.append(len(caller) / 2 / RATE)

    watching = asyncio.create_task(watch())
    await recorded(company("twilio"), Caller(wait(21_000), hang_up(), voice=babble), tmp_path)
    watching.cancel()
    assert len(lengths) >= 4
    for index, seconds in enumerate(lengths[:4], start=1):
        assert 5 * index - 4 <= seconds <= 5 * index


@in_virtual_time
async def test_a_disk_that_is_full_costs_the_recording_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))  # about five seconds of it
    try:
        call, end = await recorded(
            company("twilio"), Polite("an appointment please", voice=babble), tmp_path
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert end["reason"] == "caller_hangup"
    assert len(call.tape().heard_spans()) == 2
    said = [each.getMessage() for each in caplog.records if "local_recording" in each.getMessage()]
    assert said == ["call.local_recording_failed reason=File too large"]
    caller, _ = sides(end["recording_path"])
    assert len(caller) > 2 * RATE  # what fitted can still be played


@in_virtual_time
async def test_a_place_that_cannot_be_written_to_costs_the_recording_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    call, end = await recorded(
        company("twilio"),
        Caller(listen(), say("an appointment please"), listen(), hang_up(), voice=babble),
        tmp_path / "file" / "below",
    )
    assert len(call.tape().heard_spans()) == 2
    assert "recording_path" not in end
    assert "call.local_recording_failed" in caplog.text


def test_where_recordings_go(tmp_path: Path) -> None:
    assert RecordingPlace.of(False, tmp_path) is None
    beside = RecordingPlace.of(True, tmp_path)
    assert beside is not None
    assert beside.path("CA1", 0.0) == tmp_path / "calls/1970/01/01/CA1/recording.wav"
    usual = RecordingPlace.of(True, None)
    assert usual is not None
    assert usual.path("CA1", 0.0).is_relative_to(platform_data_dir() / "calls")
    named = RecordingPlace.of("~/tapes", tmp_path)
    assert named is not None
    assert named.path("v3:a/b", 0.0).parent == Path.home() / "tapes"
    assert named.path("v3:a/b", 0.0) != named.path("v3:a_b", 0.0)
    for wrong, kind in ((1, TypeError), (b"x", TypeError), ("", ValueError), (" ", ValueError)):
        with pytest.raises(kind, match="local_recording"):
            RecordingPlace.of(wrong, None)
