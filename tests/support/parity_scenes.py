"""The scenarios of the parity matrix: each one call, the same for every provider of every kind."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from getpatter.core.manners import APOLOGY, FAREWELL
from getpatter.testing.callers import (
    Caller,
    Program,
    Step,
    babble,
    hang_up,
    interrupt_after,
    listen,
    say,
    wait,
)
from getpatter.testing.callers import silence as pause
from getpatter.testing.simulation import Simulation
from tests.support.parity import Cell, Kind
from tests.support.parity_stage import GREETING, STAGES, WRONG_KEY, Script, Stage, Uses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from getpatter.testing.twilio import SimulatedCall

ASKED: Final = "A haircut, please."
ANSWER: Final = "Which day would you like to come to us?"
DAY: Final = "Monday."
DONE: Final = "Monday it is."
STOP: Final = "Stop, please."
LONG: Final = (
    "Our opening hours are from nine in the morning until half past five in the afternoon, on every day "
    "of the week but Sunday, and on Saturdays we close at noon, so please come early if you can."
)
LETTERS: Final = (
    "We have rooms in Zürich and Москва. Our team speaks Ελληνικά, Español and 日本語 as well. "
    "Prices begin at 9.50 euros, and children pay half of that. "
)
LONGER: Final = (LETTERS * 3).strip()
GAP_MS: Final = 1500.0
"""Longer than any pause inside an answer of the fakes."""
DIES_WITHIN_S: Final = 20.0
ANSWERS_WITHIN_MS: Final = 2500.0
FALLS_SILENT_WITHIN_MS: Final = 1000.0


@dataclass(frozen=True)
class Seen:
    """What became of a call."""

    stage: Stage
    phone: Simulation
    call: SimulatedCall
    log: Sequence[logging.LogRecord]

    @property
    def lines(self) -> list[tuple[str, str]]:
        """The transcript; white space does not count."""
        return [
            (role, " ".join(text.split())) for role, text in self.phone.transcript(self.call.sid)
        ]

    @property
    def reason(self) -> str:
        """Why the call ended."""
        return str(self.phone.calls[self.call.sid].end["reason"])

    def is_conversation(self, *lines: str) -> None:
        """Agent and caller took turns and said exactly this."""
        roles = ("assistant", "user")
        expected = [(roles[number % 2], text) for number, text in enumerate(lines)]
        assert self.lines == expected
        assert self.reason == "caller_hangup"


def polite(*lines: str, stage: Stage, gap_ms: float = GAP_MS) -> Program:
    """Lets the agent finish before each line, and once more before hanging up."""
    steps: list[Step] = []
    for number, line in enumerate(lines):
        steps.append(listen(gap_ms=gap_ms))
        if not number:
            steps.append(stage.before_turn)
        steps.append(say(line))
    return Caller(*steps, listen(gap_ms=gap_ms), hang_up(), voice=babble)


async def play(cell: Cell) -> None:
    """Have the call of `cell`. Raises `AssertionError` for a promise that was not kept. For virtual time."""
    await SCENES[cell.scenario](cell)


async def _call(cell: Cell, script: Script, caller: Callable[[Stage], Program]) -> Seen:
    """One call from the first ring to the last callback; what holds for all of them is checked here."""
    async with STAGES[cell.row.kind](cell.row, script) as stage:
        with _log() as log:
            await stage.before_ring()
            async with Simulation(stage.agent()) as phone:
                call = await phone.talk(caller(stage))
                assert stage.service.sockets_open == 0, "the call left a connection"
        assert not phone.problems, phone.problems
        problems = getattr(stage.service, "problems", [])
        assert not problems, problems
        assert not [each for each in log if WRONG_KEY in each.getMessage()]
        return Seen(stage, phone, call, log)


@contextmanager
def _log() -> Iterator[list[logging.LogRecord]]:
    kept: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    handler = Keeping()
    logger = logging.getLogger("getpatter")
    logger.addHandler(handler)
    try:
        yield kept
    finally:
        logger.removeHandler(handler)


# ---------------------------------------------------------------------------------------- the scenes


async def reply(cell: Cell) -> None:
    script = Script([ASKED, DAY], [ANSWER, DONE])
    seen = await _call(cell, script, lambda stage: polite(ASKED, DAY, stage=stage))
    seen.is_conversation(GREETING, ASKED, ANSWER, DAY, DONE)
    assert max(seen.call.tape().answer_times()) < ANSWERS_WITHIN_MS
    _is_accounted_for(seen)


def _is_accounted_for(seen: Seen) -> None:
    """A price that nobody knows is never a cost of zero that looks like one."""
    metrics = seen.phone.calls[seen.call.sid].end["metrics"]
    key = seen.stage.provider_key
    costs = {
        Kind.RECOGNISER: metrics.cost.stt,
        Kind.VOICE: metrics.cost.tts,
        Kind.MODEL: metrics.cost.llm,
        Kind.ENGINE: metrics.cost.llm,
    }
    unpriced = [name for name in metrics.unpriced if name.split("/")[0] == key]
    assert costs[seen.stage.row.kind] > 0 or unpriced, (costs, metrics.unpriced)


async def long_reply(cell: Cell) -> None:
    script = Script([ASKED, DAY], [LONGER, DONE])
    seen = await _call(cell, script, lambda stage: polite(ASKED, DAY, stage=stage))
    seen.is_conversation(GREETING, ASKED, LONGER, DAY, DONE)
    heard = sum(span.end - span.start for span in seen.call.tape().heard_spans())
    assert heard / seen.call.tape().sample_rate > 0.9 * 0.04 * len(LONGER)


async def interruption(cell: Cell) -> None:
    script = Script([ASKED, STOP], [LONG, DONE])

    def caller(stage: Stage) -> Program:
        return Caller(
            listen(gap_ms=GAP_MS),
            say(ASKED),
            interrupt_after(2000),
            say(STOP),
            listen(gap_ms=GAP_MS),
            hang_up(),
            voice=babble,
        )

    seen = await _call(cell, script, caller)
    cut = seen.lines[2][1] if len(seen.lines) > 2 else ""
    seen.is_conversation(GREETING, ASKED, cut, STOP, DONE)
    assert cut
    assert len(cut) < len(LONG) / 2
    assert LONG.startswith(cut.rstrip(".… "))
    tape = seen.call.tape()
    began = tape.said_spans(gap_ms=700)[1].start
    spoken = [span for span in tape.heard_spans() if span.start < began < span.end]
    assert len(spoken) == 1, "the caller spoke into the answer"
    assert (spoken[0].end - began) / tape.sample_rate * 1000 < FALLS_SILENT_WITHIN_MS


async def tool_call(cell: Cell) -> None:
    await _tools(cell, ["Tuesday"])


async def two_tools(cell: Cell) -> None:
    seen = await _tools(cell, ["Tuesday", "Friday"])
    assert seen.stage.toolbox.at_once == 2, "they did not run at the same time"


async def _tools(cell: Cell, days: Sequence[str]) -> Seen:
    uses = Uses(days, "One moment please.", f"There is room on {' and '.join(days)}.")
    script = Script([ASKED, DAY], [uses, DONE])
    seen = await _call(cell, script, lambda stage: polite(ASKED, DAY, stage=stage, gap_ms=4000))
    assert sorted(seen.stage.toolbox.asked) == sorted(days)
    said = " ".join(text for role, text in seen.lines if role == "assistant")
    assert said == f"{GREETING} {uses.text} {uses.then} {DONE}"
    assert [text for role, text in seen.lines if role == "user"] == [ASKED, DAY]
    heard = seen.call.tape().heard_spans()
    assert len(heard) >= 4, "the words before the tool were heard before its result"
    return seen


async def slow_start(cell: Cell) -> None:
    script = Script([ASKED, DAY], [ANSWER, DONE], is_slow=True)
    seen = await _call(cell, script, lambda stage: polite(ASKED, DAY, stage=stage))
    seen.is_conversation(GREETING, ASKED, ANSWER, DAY, DONE)


async def drop(cell: Cell) -> None:
    script = Script([ASKED, DAY], [LONG, DONE], greeting="", breaks=True)
    asked = await babble(ASKED)
    middle = len(asked) // 4 * 2

    def caller(stage: Stage) -> Program:
        return Caller(
            wait(800),
            say(asked[:middle]),
            stage.in_mid_word,
            say(asked[middle:]),
            interrupt_after(1500),
            stage.in_mid_answer,
            pause(2500),
            say(DAY),
            listen(gap_ms=GAP_MS),
            hang_up(),
            voice=babble,
        )

    seen = await _call(cell, script, caller)
    assert [text for role, text in seen.lines if role == "user"] == [ASKED, DAY]
    assert seen.lines[-1] == ("assistant", DONE)
    assert seen.reason == "caller_hangup"
    if cell.row.kind is Kind.RECOGNISER:
        assert seen.lines[1] == ("assistant", LONG), "a lost ear costs no word of the voice"


async def wrong_key(cell: Cell) -> None:
    script = Script([ASKED], has_wrong_key=True)
    steps = [listen(gap_ms=GAP_MS), say(ASKED)] if _is_asked_late(cell) else []
    seen = await _call(cell, script, lambda _: Caller(*steps, wait(60_000), voice=babble))
    assert seen.stage.attempts == 1, f"{seen.stage.attempts} attempts with a key that is wrong"
    told = _has_died(seen)
    assert "AuthenticationError" not in told.getMessage(), "it says what the vendor said"


def _has_died(seen: Seen) -> logging.LogRecord:
    """The call ended for its provider, and the caller was told. Returns the one line of the log."""
    assert seen.reason == "provider_error"
    assert seen.call.duration_s < DIES_WITHIN_S
    told = [each for each in seen.log if each.levelno >= logging.ERROR]
    assert [each.getMessage().split(".")[1].split(" ")[0] for each in told] == ["gone"]
    if seen.stage.carrier_apologises:
        assert any("something went wrong" in str(each.form) for each in seen.phone.twilio.requests)
    else:
        role, text = seen.lines[-1]
        assert role == "assistant"
        assert text.endswith(FAREWELL)
    return told[0]


def _is_asked_late(cell: Cell) -> bool:
    """Whether the provider is asked nothing before the caller has spoken."""
    return cell.row.kind is Kind.MODEL or getattr(cell.row.of, "is_buffered", False)


async def rate_limit(cell: Cell) -> None:
    script = Script([ASKED, DAY], [ANSWER, DONE], is_limited=True)
    seen = await _call(cell, script, lambda stage: polite(ASKED, DAY, stage=stage))
    seen.is_conversation(GREETING, ASKED, ANSWER, DAY, DONE)
    assert not seen.stage.service.refusals, "nothing was refused"


async def outage(cell: Cell) -> None:
    if cell.row.kind is Kind.MODEL:
        await _lost_turn(cell)
        return
    script = Script([ASKED], is_out=True)
    steps = [listen(gap_ms=GAP_MS), say(ASKED)] if _is_asked_late(cell) else []
    seen = await _call(cell, script, lambda _: Caller(*steps, wait(60_000), voice=babble))
    assert 2 <= seen.stage.attempts <= _MOST_ATTEMPTS, f"{seen.stage.attempts} attempts"
    _has_died(seen)


_MOST_ATTEMPTS: Final = 12
"""Four of ours; those that repeat a request of their own accord send each up to three times."""


async def _lost_turn(cell: Cell) -> None:
    script = Script([ASKED, DAY], [DONE], is_out=True)

    def caller(stage: Stage) -> Program:
        return Caller(
            listen(gap_ms=GAP_MS),
            stage.before_turn,
            say(ASKED),
            listen(gap_ms=GAP_MS),
            stage.after_turn,
            say(DAY),
            listen(gap_ms=GAP_MS),
            hang_up(),
            voice=babble,
        )

    seen = await _call(cell, script, caller)
    seen.is_conversation(GREETING, ASKED, APOLOGY, DAY, DONE)


async def silence(cell: Cell) -> None:
    caller = Caller(listen(gap_ms=GAP_MS), wait(8000), hang_up(), voice=babble)
    seen = await _call(cell, Script([ASKED]), lambda _: caller)
    seen.is_conversation(GREETING)


Scene = Callable[[Cell], Awaitable[Any]]

SCENES: Final[Mapping[str, Scene]] = {
    "reply": reply,
    "long reply": long_reply,
    "interruption": interruption,
    "tool call": tool_call,
    "two tools": two_tools,
    "slow start": slow_start,
    "drop": drop,
    "wrong key": wrong_key,
    "rate limit": rate_limit,
    "outage": outage,
    "silence": silence,
}
