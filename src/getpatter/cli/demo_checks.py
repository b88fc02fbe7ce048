"""Whether the call really took place as it should. Nothing is taken on trust.

What should have been answered is asked of a second desk. What should have been heard is spoken once more and
looked for in the sound at the caller's end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from getpatter import CallControl
from getpatter.carriers import resumed_wire
from getpatter.cli.demo_call import SCRIPT_ACTS, Act, Outcome
from getpatter.cli.demo_desk import GREETING, AppointmentDesk
from getpatter.cli.demo_turns import Turn, is_heard, rendered, sentences
from getpatter.runtime.replay import Replay, read_header, replay
from getpatter.testing.line import Tape
from getpatter.tts.base import TTSProvider

__all__ = ["Check", "checks_of_recording", "checks_of_script", "replayed"]

_STOPS_WITHIN_MS: Final = 1000.0
_ANSWERS_WITHIN_MS: Final = 4000.0
_TAIL_WORDS: Final = 5


@dataclass(frozen=True, slots=True)
class Check:
    """Something that was looked at."""

    name: str
    is_good: bool
    detail: str = ""


def replayed(outcome: Outcome) -> Replay | None:
    """The call's flight recording, run again; `None` when there is none."""
    if outcome.flight is None:
        return None
    header = read_header(outcome.flight)
    return replay(outcome.flight, resumed_wire(header.carrier, header.started))


async def checks_of_script(
    outcome: Outcome, turns: Sequence[Turn], tape: Tape, flight: Replay | None
) -> list[Check]:
    """For the call that follows the script."""
    answers = await _right_answers(outcome.acts)
    ear = _Witness(cast("TTSProvider", outcome.agent.tts), tape)
    checks = [
        *_of_the_call(outcome, flight, ends_it="api"),
        Check(
            "the caller came through the script",
            len(outcome.acts) == SCRIPT_ACTS,
            f"{len(outcome.acts)} of {SCRIPT_ACTS}",
        ),
        await ear.heard("the greeting was heard", GREETING, turns[0]),
    ]
    for turn, wanted in zip(turns[1:], answers, strict=True):
        assert turn.act is not None, "only the greeting has none"
        name = f"{turn.act.what!r} was answered"
        if turn.was_cut:
            checks.append(_cut_short(name, turn, wanted))
        else:
            checks.append(await ear.heard(name, wanted, turn))
        if turn.act.is_interruption:
            checks.append(_stopped(turn))
    reason = str(outcome.end.get("reason", ""))
    checks.append(Check("the agent hung up after its goodbye", reason == "agent_hangup", reason))
    return checks


async def checks_of_recording(
    outcome: Outcome, turns: Sequence[Turn], tape: Tape, flight: Replay | None
) -> list[Check]:
    """For a call with the user's own recording: the call must work, whatever was understood."""
    ear = _Witness(cast("TTSProvider", outcome.agent.tts), tape)
    checks = [
        *_of_the_call(outcome, flight, ends_it=None),
        await ear.heard("the greeting was heard", GREETING, turns[0]),
    ]
    lines = [line for turn in turns[1:] for line in turn.heard if not line.is_interrupted]
    return checks + [await ear.heard_line(line.text) for line in lines]


def _of_the_call(outcome: Outcome, flight: Replay | None, *, ends_it: str | None) -> list[Check]:
    refused = [f"{kind}: {status}" for kind, status in outcome.webhooks if status // 100 != 2]  # noqa: PLR2004
    ended = outcome.status == "completed" and ends_it in {None, outcome.hung_up_by}
    by = {"api": "the agent", "caller": "the caller"}.get(outcome.hung_up_by, outcome.hung_up_by)
    checks = [
        Check(
            "the call ended in order", ended and not outcome.failure, outcome.failure or f"by {by}"
        ),
        Check(
            "every web hook was signed and accepted",
            bool(outcome.webhooks) and not refused,
            "; ".join(refused) or f"{len(outcome.webhooks)} of them",
        ),
        Check("the carrier has no complaint", not outcome.problems, "; ".join(outcome.problems)),
        Check("on_call_end was told", bool(outcome.end)),
    ]
    if flight is None:
        return [*checks, Check("there is a flight recording", is_good=False)]
    frames, at = len(flight.frames_replayed), flight.first_difference
    detail = f"{frames} frames" if at is None else f"frame {at} differs"
    return [*checks, Check("run again, it sends the same bytes", at is None and frames > 0, detail)]


def _cut_short(name: str, turn: Turn, wanted: str) -> Check:
    is_good = 0 < len(turn.answer) < len(wanted) and wanted.startswith(turn.answer)
    return Check(name, is_good, f"as far as {_tail(turn.answer)!r}")


def _stopped(turn: Turn) -> Check:
    after = turn.stopped_ms
    is_good = after is not None and after <= _STOPS_WITHIN_MS
    detail = f"after {after:.0f} ms" if after is not None else "it was silent already"
    return Check("the agent stopped when it was interrupted", is_good, detail)


def _tail(text: str) -> str:
    words = text.split()
    return text if len(words) <= _TAIL_WORDS else f"... {' '.join(words[-_TAIL_WORDS:])}"


class _Witness:
    """The caller's ear."""

    def __init__(self, voice: TTSProvider, tape: Tape) -> None:
        self._voice = voice
        self._tape = tape

    async def heard_line(self, text: str) -> Check:
        name = f"{_tail(text)!r} was heard"
        missing = await self._missing(text)
        return Check(name, not missing, missing)

    async def _missing(self, text: str) -> str:
        for sentence in sentences(text):
            if not is_heard(await rendered(self._voice, sentence), self._tape.heard):
                return f"{sentence!r} is not in the sound"
        return ""

    async def heard(self, name: str, wanted: str, turn: Turn) -> Check:
        if turn.answer != wanted:
            understood = " ".join(turn.understood) or "nothing"
            what = turn.answer or "nothing"
            detail = f"heard {what!r} instead of {wanted!r} (understood: {understood!r})"
            return Check(name, is_good=False, detail=detail)
        if missing := await self._missing(wanted):
            return Check(name, is_good=False, detail=missing)
        late = turn.answered_ms is None or turn.answered_ms > _ANSWERS_WITHIN_MS
        if turn.act is not None and late:
            when = "never" if turn.answered_ms is None else f"after {turn.answered_ms:.0f} ms"
            return Check(name, is_good=False, detail=f"too late: {when}")
        return Check(name, is_good=True, detail=_tail(wanted))


class _NoLine:
    """A line that only the second desk sees."""

    is_over = False

    is_handed_over = False

    async def transfer(
        self, number: str, *, mode: str, summary: str, allow_any: bool
    ) -> dict[str, object]:
        raise NotImplementedError

    async def hang_up(self) -> None:
        """Nobody is connected."""

    async def send_dtmf(self, digits: str, *, delay_ms: int) -> None:
        raise NotImplementedError

    async def collect_digits(self, most: int | None, *, finish_on: str, patience: float) -> str:
        raise NotImplementedError


async def _right_answers(acts: Iterable[Act]) -> list[str]:
    """What a desk says to a caller whom it understands perfectly."""
    desk = AppointmentDesk()
    control = CallControl(
        _NoLine(), call_id="rehearsal", caller="", callee="", telephony_provider=""
    )
    answers: list[str] = []
    for act in acts:
        text = f"[DTMF: {act.what}]" if act.is_key else act.what
        answers.append(await desk.on_message({"text": text, "call_id": "rehearsal"}, control))
    return answers
