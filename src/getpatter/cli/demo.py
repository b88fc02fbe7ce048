"""`getpatter demo`: a whole phone call on this machine, shown while it is held and checked afterwards."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeVar

from getpatter.cli.demo_call import (
    Act,
    Line,
    Outcome,
    Perform,
    Watcher,
    hold_call,
    recording_steps,
    script_steps,
)
from getpatter.cli.demo_checks import Check, checks_of_recording, checks_of_script, replayed
from getpatter.cli.demo_turns import Turn, turns_of
from getpatter.cli.screen import Screen
from getpatter.errors import PatterConfigError
from getpatter.runtime.recorder import FlightRecorder
from getpatter.runtime.replay import Replay
from getpatter.server.listener import loop_factory
from getpatter.testing import time as virtual_time
from getpatter.testing.callers import wav
from getpatter.testing.line import Tape

_T = TypeVar("_T")

_LONGEST_WAV_S: Final = 600.0
_REAL_LIMIT_S: Final = 60.0
_MS: Final = 1000


def run(options: argparse.Namespace) -> int:
    """Hold the call, show it, judge it. 0: it took place as it should; 1: it did not."""
    _need_offline_speech()
    screen = Screen(no_color=options.no_color)
    perform, limit_s = _caller(options.wav)
    folder = _folder(options.keep)
    sound = options.out or folder / "call.wav"
    sound.parent.mkdir(parents=True, exist_ok=True)
    demo = _Demo(perform, limit_s, folder, sound, screen, is_scripted=options.wav is None)
    return 0 if _in_a_loop(demo.play(), is_fast=options.fast) else 1


def _need_offline_speech() -> None:
    if find_spec("pocketsphinx") is None or find_spec("espeakng_loader") is None:
        raise ImportError(
            "the demo needs a recogniser and a voice on this machine: pip install 'getpatter[offline]' "
            "(Python 3.11 or 3.13; 3.12 where there is a wheel)"
        )


def _caller(recording: Path | None) -> tuple[Perform, float]:
    if recording is None:
        return script_steps, 120.0
    try:
        pcm = wav(recording)
    except OSError as error:
        raise PatterConfigError(f"cannot read {recording}: {error.strerror or error}") from error
    except ValueError as error:
        raise PatterConfigError(f"{recording}: {error}") from error
    lasts_s = len(pcm) / 2 / 8000
    if not 0 < lasts_s <= _LONGEST_WAV_S:
        raise PatterConfigError(
            f"{recording} lasts {lasts_s:.0f} s: take something up to {_LONGEST_WAV_S:.0f} s"
        )
    return recording_steps(pcm), lasts_s + 120.0


def _folder(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="getpatter-demo-"))
    keep.mkdir(parents=True, exist_ok=True)
    return keep


def _in_a_loop(work: Coroutine[Any, Any, _T], *, is_fast: bool) -> _T:
    if is_fast:
        return virtual_time.run(work, real_limit=_REAL_LIMIT_S)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(work)


@dataclass(slots=True)
class _Demo:
    perform: Perform
    limit_s: float
    folder: Path
    sound: Path
    screen: Screen
    is_scripted: bool

    async def play(self) -> bool:
        """The whole demonstration; whether it went as it should."""
        self.screen.line(
            "A phone call on this machine: real server, real sockets, real speech; "
            "only the phone company and the caller are simulated."
        )
        self.screen.line()
        try:
            outcome = await hold_call(
                self.perform, folder=self.folder, watcher=_Live(self.screen), limit_s=self.limit_s
            )
        finally:
            self.screen.now()
        await asyncio.to_thread(FlightRecorder.written)
        tape = outcome.tape
        if tape is None:
            return self._never_connected(outcome)
        flight = await asyncio.to_thread(replayed, outcome)
        turns = turns_of(outcome, tape)
        judge = checks_of_script if self.is_scripted else checks_of_recording
        checks = await judge(outcome, turns, tape, flight)
        await asyncio.to_thread(self.sound.write_bytes, tape.wav())
        self._show(outcome, turns, flight, checks)
        return _verdict(checks)

    def _never_connected(self, outcome: Outcome) -> bool:
        for what in (*outcome.problems, outcome.failure):
            if what:
                self.screen.check(what, is_good=False)
        return _verdict([Check("the call was connected", is_good=False)])

    def _show(
        self,
        outcome: Outcome,
        turns: Sequence[Turn],
        flight: Replay | None,
        checks: Sequence[Check],
    ) -> None:
        confidence = confidences(flight)
        columns = ("", "caller", "understood as", ">sure", "agent, as it was heard", ">after")
        rows = [_row(number, turn, confidence) for number, turn in enumerate(turns)]
        self.screen.line()
        self.screen.table(columns, rows)
        for remark in _remarks(turns):
            self.screen.line(remark)
        self.screen.line()
        for check in checks:
            self.screen.check(check.name, is_good=check.is_good, detail=check.detail)
        self.screen.line()
        self.screen.line(f"sound   {self.sound}  (caller left, agent right)")
        if outcome.flight is not None:
            self.screen.line(f"flight  {outcome.flight}  (getpatter replay ...)")


def _remarks(turns: Sequence[Turn]) -> list[str]:
    remarks: list[str] = []
    answered = sorted(turn.answered_ms for turn in turns if turn.answered_ms is not None)
    if answered:
        span = f"{answered[0]:.0f}"
        if len(answered) > 1:
            span += f" to {answered[-1]:.0f}"
        remarks.append(
            f"Answers began {span} ms after the caller's last sound, measured at the caller's ear."
        )
    if any(turn.act is not None and turn.act.is_key for turn in turns):
        remarks.append("A single key waits 1500 ms for a second one.")
    if any(turn.act is not None and not turn.understood for turn in turns):
        remarks.append(
            "Where nothing was understood: this recogniser knows the desk's sentences and no others, "
            "and says nothing rather than guess."
        )
    return remarks


def confidences(flight: Replay | None) -> dict[str, float]:
    """How sure the recogniser was of what it understood, by its words."""
    if flight is None:
        return {}
    return {said.text: said.confidence for said in flight.understood}


def _row(number: int, turn: Turn, confidence: dict[str, float]) -> tuple[str, ...]:
    act = turn.act
    done = "" if act is None else _shown(act)
    sure = [confidence[text] for text in turn.understood if text in confidence]
    understood = " / ".join(turn.understood)
    if act is not None and not understood:
        understood = "(nothing)"
    answer = turn.answer + (" -- cut short" if turn.was_cut else "")
    return (
        str(number) if act is not None else "",
        done,
        understood,
        f"{min(sure) * 100:.0f} %" if sure else "",
        answer or "(nothing)",
        f"{turn.answered_ms:.0f} ms" if turn.answered_ms is not None else "",
    )


def _shown(act: Act) -> str:
    if act.is_key:
        return f"presses {act.what}"
    return act.what or "(your recording)"


def _verdict(checks: Sequence[Check]) -> bool:
    failed = [check.name for check in checks if not check.is_good]
    if failed:
        sys.stdout.flush()
        print(f"getpatter: the call did not go as it should: {'; '.join(failed)}", file=sys.stderr)
    return not failed


class _Live(Watcher):
    """Shows a call while it is held."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def rings(self, caller: str, callee: str, server: str) -> None:
        """The phone rings."""
        self._screen.entry("0:00", "rings", f"{caller} calls {callee}, answered on {server}", "dim")
        self._screen.now("the agent speaks")

    def acts(self, act: Act) -> None:
        """The caller begins to do something."""
        what = "plays the recording" if not act.what else f'"{act.what}"'
        if act.is_key:
            what = f"presses {act.what}"
        elif act.is_interruption:
            what = f"interrupts: {what}"
        self._screen.entry(_clock(act.began_ms), "caller", what, "cyan")
        if not act.is_key:
            self._screen.now("the caller speaks")

    def said(self, line: Line, outcome: Outcome, tape: Tape) -> None:
        """The agent has understood something, or the caller has heard something."""
        if line.role == "user":
            self._screen.entry("", "", f"understood: {line.text}", "dim")
            self._screen.now("the agent answers")
            return
        turn = next((turn for turn in turns_of(outcome, tape) if line in turn.heard), None)
        text = line.text
        if line.is_interrupted:
            text += " -- cut short"
        if turn is not None and turn.answered_ms is not None:
            text += f"   [after {turn.answered_ms:.0f} ms]"
        style = "yellow" if line.is_interrupted else "green"
        self._screen.entry(_clock(line.at_ms), "agent", text, style)
        if not line.is_interrupted:
            self._screen.now()


def _clock(ms: float) -> str:
    seconds = int(ms / _MS)
    return f"{seconds // 60}:{seconds % 60:02d}"
