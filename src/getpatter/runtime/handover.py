"""A transfer of one call, from the carrier's yes to its outcome, and the way back when nobody takes the caller.

```
asked -- the carrier takes the caller --> away --+-- connected: the call is theirs, ours is over
                                                 +-- busy, nobody, a machine, gone: brought back (CA-21)
```

The stream is gone meanwhile; the conversation waits (`core/absence.py`). Who decides is the carrier: the one who is
called answers, or does not, and it says so in its events. A limit stands behind them all: then the carrier is asked.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, Literal, Protocol

from getpatter.carriers.base import (
    CallProgressed,
    MachineJudged,
    RoomChanged,
    Stream,
    TargetProgressed,
    TargetState,
    TransferOver,
    Warm,
    WarmSteps,
    WebhookEvent,
)
from getpatter.core import messages as m
from getpatter.errors import PatterError

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from getpatter.runtime.leg import Leg

logger = logging.getLogger(__name__)

Mode = Literal["cold", "warm"]
RINGS_FOR: Final = 30.0
"""Seconds that the target may take to answer."""
SLACK: Final = 15.0
"""Carriers add a few seconds to a ring, and their news takes a while."""
SECONDS_PER_LETTER: Final = 0.1
"""Of a summary that is read out."""
BACK_WITHIN: Final = 20.0
"""Seconds from the request for a stream to the stream."""
MOST_EARLY: Final = 50

_WHY: Final[dict[TargetState, str]] = {
    "busy": "the line was busy",
    "no-answer": "nobody answered",
    "machine": "an answering machine picked up",
    "gone": "the other side hung up before it was connected",
}


def note_of(state: TargetState) -> str:
    """What the conversation keeps of a transfer that failed, in words for the model."""
    why = _WHY.get(state, "the number could not be reached")
    return f"[Transfer failed: {why}. The caller is connected to you again.]"


class Transferred(Protocol):
    """The call that is handed over."""

    def tell(self, event: m.AnyInput) -> None:
        """Tell the conversation."""
        ...

    def work(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Start work that may outlive the media."""
        ...

    def transfer_ended(self, handover: Handover, state: TargetState) -> None:
        """The outcome is known; `connected` ends our part."""
        ...

    def transfer_lost(self, handover: Handover) -> None:
        """The caller is gone, or did not come back."""
        ...

    def invite(self) -> Stream:
        """A stream with a new token, for the caller who comes back."""
        ...


class Targets:
    """Who is being called on behalf of a caller: their own calls, by the carrier's id or by our reference."""

    def __init__(self) -> None:
        """Nobody yet."""
        self._known: dict[str, Handover] = {}
        self._dialling = 0
        self._early: list[WebhookEvent] = []

    def expect(self, reference: str, handover: Handover) -> None:
        """A target is about to be called."""
        self._dialling += 1
        self._known[reference] = handover

    def called(self, target_id: str, handover: Handover) -> None:
        """The carrier has said which call it is, or (empty) that there is none. Early news is told now."""
        self._dialling -= 1
        if target_id:
            self._known[target_id] = handover
        early = [event for event in self._early if event.call_id == target_id]
        if not self._dialling:
            self._early.clear()
        for event in early:
            handover.told(event)

    def forget(self, handover: Handover) -> None:
        """It is over."""
        for key in [key for key, each in self._known.items() if each is handover]:
            del self._known[key]

    def take(self, event: WebhookEvent, *, is_known: bool) -> bool:
        """Tell the handover that `event` belongs to. False: it belongs to none.

        News of a call that nobody knows (not `is_known`) is kept while a target is being called.
        """
        reference = event.reference if isinstance(event, CallProgressed | MachineJudged) else ""
        handover = self._known.get(event.call_id) or self._known.get(reference)
        if handover is None:
            return not is_known and self._keep(event)
        if reference:
            handover.target_id = event.call_id
            self._known[event.call_id] = handover
        handover.told(event)
        return True

    def _keep(self, event: WebhookEvent) -> bool:
        if not self._dialling or len(self._early) >= MOST_EARLY:
            return False
        self._early.append(event)
        return True


class Handover:
    """One transfer. `begin` once; then `told` what the carrier reports."""

    def __init__(
        self, call: Transferred, leg: Leg, targets: Targets, *, to: str, warm: Warm | None
    ) -> None:
        """Prepare to transfer `call` to `to`; `warm`: the target is told something first."""
        self.to = to
        self.mode: Mode = "cold" if warm is None else "warm"
        self.target_id = ""
        """The carrier's id of the target's call, once it is known."""
        self.outcome: TargetState | None = None
        """`None` while it is open."""
        self._call = call
        self._leg = leg
        self._targets = targets
        self._warm = warm
        self._steps: WarmSteps | None = None if warm is None else leg.warm(warm)
        self._has_begun = False
        self._is_joining = False
        self._target_is_over = False

    # ------------------------------------------------------------------------------------- the start

    async def begin(self) -> str | None:
        """Ask the carrier. Returns why it will not, or `None`."""
        self._call.tell(m.HandOverAsked())
        self._has_begun = True  # its news may be faster than its answer
        try:
            await self._leg.hand_over(self.to, self._steps)
        except PatterError as error:
            self.outcome = "failed"
            self._call.tell(m.HandOverRefused())
            return str(error)
        self._call.tell(m.HandedOver())
        if self.outcome is not None:
            return None
        if self._warm is not None:
            refused = await self._call_target(self._warm)
            if refused is not None:
                return refused
        self._call.work(self._give_up_later(), name="transfer")
        return None

    async def _call_target(self, warm: Warm) -> str | None:
        assert self._steps is not None, "a warm transfer has steps"
        self._targets.expect(warm.reference, self)
        target_id, refused = "", None
        try:
            target_id = await self._leg.ask(self._steps.call_target())
        except PatterError as error:
            refused = str(error)
        self.target_id = self.target_id or target_id
        self._targets.called(target_id, self)
        if refused is not None:
            self._target_is_over = True
            if self.outcome is None:
                self.fail("failed")
        elif self.outcome not in {None, "connected"}:  # while the carrier was asked
            await self._end_target()
        return refused

    async def _give_up_later(self) -> None:
        summary = len(self._warm.summary) * SECONDS_PER_LETTER if self._warm is not None else 0.0
        await asyncio.sleep(RINGS_FOR + SLACK + summary)
        if self.outcome is not None:
            return
        if self._warm is not None:
            self.fail("no-answer")
        elif await self._leg.is_alive():
            # Nobody reported a failure, and the caller is still there: they talk.
            self._end("connected")
        else:
            self._caller_gone()

    # -------------------------------------------------------------------------------------- the news

    def told(self, event: WebhookEvent) -> None:
        """News from the carrier about the target."""
        if self.outcome is not None or not self._has_begun:
            return
        match event:
            case TargetProgressed(state=state, target_id=target_id):
                self.target_id = self.target_id or target_id
                self._progressed(state)
            case CallProgressed(status="in-progress"):
                self._progressed("answered")
            case CallProgressed(status="busy" | "no-answer" | "failed" as status):
                self._progressed(status)
            case CallProgressed(status="completed" | "canceled"):
                self._progressed("gone")
            case MachineJudged(classification="machine" | "fax"):
                self._progressed("machine")
            case RoomChanged(is_in=is_in):
                self._progressed("connected" if is_in else "gone")
            case _:
                pass

    def caller_left_room(self) -> None:
        """The caller is no longer in the conference, and nobody has sent for them."""
        if self.outcome is None and self._warm is not None:
            self._caller_gone()

    def over(self, event: TransferOver) -> bool:
        """The carrier asks what shall become of the caller. True: they are to be connected to us again."""
        if self.outcome is None:
            if event.is_caller_gone:
                self._caller_gone()
            elif event.state == "connected" and self._warm is None:
                self._end("connected")
            else:
                self._end("gone" if event.state == "connected" else event.state)
                self._call.work(self._end_target(), name="transfer-target")
                self._call.work(self._await_back(), name="transfer-back")
        return self.outcome != "connected" and not event.is_caller_gone

    def _progressed(self, state: TargetState) -> None:
        match state:
            case "connected":
                self._end("connected")
            case "answered" | "briefed":
                if self._steps is not None:
                    self._call.work(self._step(state), name=f"transfer-{state}")
            case _:
                self._target_is_over = state != "machine"
                if self._steps is None and state == "gone":
                    state = "failed"  # of a leg that the carrier called by itself
                self.fail(state)

    async def _step(self, state: TargetState) -> None:
        assert self._steps is not None, "a warm transfer has steps"
        if state == "briefed" and self._is_joining:
            return
        self._is_joining = self._is_joining or state == "briefed"
        make = self._steps.brief if state == "answered" else self._steps.join
        asked = make(self.target_id)
        if asked is None or self.outcome is not None:
            return
        try:
            await self._leg.ask(asked)
        except PatterError:
            if self.outcome is None:
                self.fail("failed")

    # -------------------------------------------------------------------------------------- the ends

    def _end(self, state: TargetState) -> None:
        self.outcome = state
        self._targets.forget(self)
        self._call.transfer_ended(self, state)

    def fail(self, state: TargetState) -> None:
        """Nobody takes the caller: bring them back."""
        self._end(state)
        self._call.work(self._bring_back(), name="transfer-back")

    async def _bring_back(self) -> None:
        await self._end_target()
        try:
            if self._steps is not None and (resume := self._steps.resume()) is not None:
                await self._leg.ask(resume)
            await self._leg.reconnect(self._call.invite())
        except PatterError as error:
            logger.warning("transfer.caller_lost error=%s", type(error).__name__)
            self._call.transfer_lost(self)
            return
        await self._await_back()

    async def _await_back(self) -> None:
        await asyncio.sleep(BACK_WITHIN)
        self._call.transfer_lost(self)

    def _caller_gone(self) -> None:
        self.outcome = "gone"
        self._targets.forget(self)
        self._call.transfer_lost(self)
        self._call.work(self._end_target(), name="transfer-target")

    def abandon(self) -> None:
        """Our side ends the call, or the caller has hung up: nobody shall be called any more."""
        if self.outcome is None:
            self.outcome = "gone"
            self._targets.forget(self)
            self._call.work(self._end_target(), name="transfer-target")

    async def _end_target(self) -> None:
        if self._warm is not None and self.target_id and not self._target_is_over:
            self._target_is_over = True
            await self._leg.hang_up_other(self.target_id)
