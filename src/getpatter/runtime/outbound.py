"""Calls that we place: from the carrier's yes to the outcome, machines included.

What belongs to one `call()` lives in its `Attempt` and reaches no other call. The carrier gives a call its
id only in the answer to the dial request; until then the call is known by our own reference, and news that
arrives under an id nobody knows yet is kept for the dials that are under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from getpatter.carriers.base import FINAL_STATUSES, Carrier, MachineJudged
from getpatter.core import messages as m
from getpatter.core.variables import substitute
from getpatter.errors import PatterError
from getpatter.models import CallOutcome, CallResult, MachineDetectionResult
from getpatter.runtime import clock

if TYPE_CHECKING:
    from getpatter.agent import Agent
    from getpatter.runtime.line import Line

logger = logging.getLogger(__name__)

Callback = Callable[..., object]

MEDIA_WITHIN: Final = 20.0
"""Seconds from the answer to the stream (CL-38)."""
GREETING_WITHIN: Final = 30.0
"""Seconds from "it is a machine" to the end of its greeting, if nobody reports one."""
SECONDS_PER_LETTER: Final = 0.1
LEAVING_SLACK: Final = 15.0


@dataclass(frozen=True, slots=True)
class Placing:
    """What one `call()` asks for, validated."""

    to: str = field(repr=False)
    from_number: str = field(repr=False)
    agent: Agent
    first_message: str = ""
    voicemail_message: str = ""
    detects_machines: bool = True
    on_machine_detection: Callback | None = None
    on_machine: Callback | None = None
    """Older form of `on_machine_detection`: it gets a dict."""
    ring_timeout: int | None = 25
    max_call_duration: int = 3600
    variables: Mapping[str, object] = field(default_factory=dict)
    is_recorded: bool = False


class Attempt:
    """One placed call: what becomes of it, and who is told."""

    def __init__(self, placing: Placing, line: Line, carrier: Carrier) -> None:
        """Begin when the carrier has accepted the dial."""
        self.placing = placing
        self.line = line
        self.is_machine = False
        self._carrier = carrier
        self._was_judged = False
        self._is_leaving = False
        self._message = placing.voicemail_message

    # ------------------------------------------------------------------------------------ machines

    def judged(self, event: MachineJudged) -> None:
        """The carrier has an opinion about who answered. Repeats and second thoughts are ignored (CB-17)."""
        if not self.placing.detects_machines:
            return
        if not self._was_judged:
            self._was_judged = True
            self._tell(event)
            if event.classification in {"machine", "fax"}:
                self._silence(event)
        if self.is_machine and event.greeting_ended:
            self._leave()

    def _tell(self, event: MachineJudged) -> None:
        result = MachineDetectionResult(
            call_id=event.call_id,
            carrier=self._carrier.name,
            classification=event.classification,
            raw=event.raw,
            detected_at=clock.wall(),
        )
        self.line.tell_program("on_machine_detection", self.placing.on_machine_detection, result)
        self.line.tell_program("on_machine", self.placing.on_machine, asdict(result))

    def _silence(self, event: MachineJudged) -> None:
        self.line.tell(m.MachineFound())
        self.is_machine = True
        if event.classification == "fax" or not self._message:
            self.line.hang_up_now("voicemail")
            return
        self.line.work(self._leave_in_any_case(), name="voicemail")

    async def _leave_in_any_case(self) -> None:
        await asyncio.sleep(GREETING_WITHIN)
        self._leave()

    def _leave(self) -> None:
        if self._is_leaving or not self._message or self.line.is_released:
            return
        self._is_leaving = True
        self.line.work(self._speak_message(), name="voicemail-message")

    async def _speak_message(self) -> None:
        text = substitute(self._message, self.line.variables)
        self.line.hand_over("voicemail")
        try:
            await self.line.leave_message(text)
        except PatterError as error:
            logger.warning("call.voicemail_failed error=%s", type(error).__name__)
            self.line.hang_up_now("voicemail")
            return
        # The carrier says when it has spoken; this is for one that does not.
        await asyncio.sleep(len(text) * SECONDS_PER_LETTER + LEAVING_SLACK)
        if self.line.status not in FINAL_STATUSES:
            self.line.hang_up_now("voicemail")

    # -------------------------------------------------------------------------------------- result

    def outcome(self) -> CallOutcome:
        """What became of the call, by now."""
        line = self.line
        if line.has_talked:
            return "voicemail" if self.is_machine else "answered"
        match line.status:
            case "no-answer" | "canceled":
                return "no_answer"
            case "busy":
                return "busy"
            case _:
                return "failed"

    def result(self) -> CallResult:
        """The result that `call(wait=True)` gives."""
        line = self.line
        ended = line.end_payload() if line.has_talked else None
        metrics = line.metrics() if line.has_talked else None
        transcript = tuple(ended["transcript"]) if ended is not None else ()  # type: ignore[arg-type]  # a list of ours
        return CallResult(
            call_id=line.identity.call_id,
            outcome=self.outcome(),
            status=line.status,
            duration_seconds=metrics.duration_seconds if metrics is not None else 0.0,
            transcript=transcript,
            cost=metrics.cost if metrics is not None else None,
            metrics=metrics,
            reason=str(ended["reason"]) if ended is not None else "",
        )
