"""Callers who are handed on, and those who come back: the rows of `benchmarks.carriers` about transfers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from benchmarks._scenarios import REPLY_SAID, SAID, Scenario, scenario
from benchmarks._stage import REPLY, THIRD, WORDS, Stage, must, must_be
from getpatter.testing.callees import Callee
from getpatter.testing.callers import Caller, Program, babble, hang_up, listen, say, wait

TRANSFERS: Final[list[Scenario]] = []
transfer: Final = partial(scenario, into=TRANSFERS)

SUMMARY: Final = "Ms <Jones> & \"co\" want to rebook 'Tuesday'"
SORRY: Final = "They cannot be reached."
TALKS: Final = Callee(rings_s=2, talks_s=20)


class Desk:
    """An `on_message` that hands the caller on at the first words, and says what came of it."""

    def __init__(self, **options: Any) -> None:
        """`options`: of `CallControl.transfer`."""
        self.options = options
        self.results: list[Mapping[str, Any]] = []

    async def __call__(self, event: Mapping[str, Any], control: Any) -> str:
        """Write a reply."""
        if event["text"].startswith("[Transfer failed"):
            return SORRY
        if self.results:
            return REPLY
        self.results.append(await control.transfer(THIRD, **self.options))
        return "" if self.results[0]["status"] == "transferring" else SORRY


class WarmDesk(Desk):
    """The same; whoever shall take the call is told about it first."""

    def __init__(self) -> None:
        """With a summary that a document must not stumble over."""
        super().__init__(mode="warm", summary=SUMMARY)


def _patient() -> Program:
    """Asks, waits to be taken; with the agent again, asks once more and hangs up."""
    again = (listen(patience_s=90), say(WORDS), listen(), hang_up())
    return Caller(listen(), say(WORDS), *again, voice=babble)


def _others(stage: Stage, call: Any) -> list[Any]:
    return [each for each in stage.carrier.calls if each is not call]


async def _accepted(stage: Stage, mode: str) -> Any:
    stage.somebody(TALKS, THIRD)
    call = stage.ring(Caller(listen(), say(WORDS), wait(600_000), voice=babble))
    end = await stage.farewell(call)
    wanted = [{"status": "transferring", "mode": mode, "to": THIRD}]
    must_be("result", stage.serving["on_message"].results, wanted)
    must_be("reason", end["reason"], "transferred")
    must(not call.is_over, "the caller's leg was hung up")
    must_be("streams", len(call.rides), 1)
    await call.ended(within_s=120)
    must(call.duration_s > TALKS.talks_s, f"they talked for {call.duration_s:.0f} s")
    return call


async def _refused_at_once(stage: Stage) -> None:
    call = stage.ring(_patient())
    await stage.streaming(call)
    await asyncio.sleep(1)  # its limit is set by the same operation
    stage.carrier.refuse_next(403)
    await call.ended()
    end = await stage.farewell(call)
    [result] = stage.serving["on_message"].results
    must_be("result", result["status"], "failed")
    must(result.get("error"), "the model is not told why")
    must_be("reason", end["reason"], "caller_hangup")
    must_be("streams", len(call.rides), 1)
    talk = [*SAID[:2], ("assistant", SORRY), SAID[1], SAID[2]]
    must_be("transcript", stage.of(call).said, talk)
    must_be("others who were called", _others(stage, call), [])


async def _brought_back(stage: Stage, callee: Callee, why: str) -> Any:
    stage.somebody(callee, THIRD)
    call = stage.ring(_patient())
    await call.ended(within_s=300)
    end = await stage.farewell(call)
    must_be("result", stage.serving["on_message"].results[0]["status"], "transferring")
    note = f"[Transfer failed: {why}. The caller is connected to you again.]"
    talk = [*SAID[:2], ("user", note), ("assistant", SORRY), SAID[1], REPLY_SAID]
    must_be("transcript", stage.of(call).said, talk)
    must_be("reason", end["reason"], "caller_hangup")
    must_be("streams", len(call.rides), 2)
    return call


@transfer("cold transfer: accepted", serving={"on_message": Desk})
async def cold_accepted(stage: Stage) -> None:
    call = await _accepted(stage, "cold")
    dialled = [each.removeprefix("+") for each in call.transfers]
    must_be("dialled", dialled, [THIRD.removeprefix("+")])
    must_be("hang-ups by REST", len(stage.hang_ups()), 0)


@transfer("cold transfer: refused at once", serving={"on_message": Desk})
async def cold_refused(stage: Stage) -> None:
    await _refused_at_once(stage)


@transfer("cold transfer: busy after the hand-over, brought back", serving={"on_message": Desk})
async def cold_busy(stage: Stage) -> None:
    await _brought_back(stage, Callee(outcome="busy"), "the line was busy")


@transfer("cold transfer: unanswered, brought back", serving={"on_message": Desk})
async def cold_unanswered(stage: Stage) -> None:
    await _brought_back(stage, Callee(rings_s=60), "nobody answered")


@transfer("warm transfer: accepted, told first", serving={"on_message": WarmDesk})
async def warm_accepted(stage: Stage) -> None:
    await _accepted(stage, "warm")
    said = [word for each in stage.carrier.calls for word in each.words]
    must_be("the target was told", said, [SUMMARY])


@transfer("warm transfer: refused at once", serving={"on_message": WarmDesk})
async def warm_refused(stage: Stage) -> None:
    await _refused_at_once(stage)


@transfer("warm transfer: busy, brought back", serving={"on_message": WarmDesk})
async def warm_busy(stage: Stage) -> None:
    await _brought_back(stage, Callee(outcome="busy"), "the line was busy")


@transfer("warm transfer: unanswered, brought back", serving={"on_message": WarmDesk})
async def warm_unanswered(stage: Stage) -> None:
    await _brought_back(stage, Callee(rings_s=60), "nobody answered")


@transfer("warm transfer: a machine answers, brought back", serving={"on_message": WarmDesk})
async def warm_machine(stage: Stage) -> None:
    machine = Callee(answered_by="machine_start", verdict_after_s=1)
    await _brought_back(stage, machine, "an answering machine picked up")


@transfer("warm transfer: caller hangs up while it rings", serving={"on_message": WarmDesk})
async def warm_given_up(stage: Stage) -> None:
    stage.somebody(Callee(rings_s=20), THIRD)
    call = stage.ring(Caller(listen(), say(WORDS), wait(600_000), voice=babble))
    await stage.until(lambda: _others(stage, call), "nobody was called")
    await asyncio.sleep(3)
    call.end("caller")
    end = await stage.farewell(call)
    must_be("reason", end["reason"], "caller_hangup")
    [target] = _others(stage, call)
    await stage.until(lambda: target.is_over, "it rings on")
    must_be("the target was answered", target.answered_at, None)
