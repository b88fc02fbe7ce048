"""What one call tells the outside: callbacks of the program, the event bus, the written record. It decides nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from getpatter.core import messages as m
from getpatter.core.ledger import latency_of
from getpatter.runtime import clock
from getpatter.runtime.aftermath import Aftermath
from getpatter.runtime.callbacks import CallbackFailed, Callbacks
from getpatter.runtime.clerk import Clerk
from getpatter.runtime.identity import Identity
from getpatter.runtime.tasks import TaskNest

if TYPE_CHECKING:
    from getpatter.carriers.base import CallCosted, RecordingFinished
    from getpatter.core.history import History
    from getpatter.models import CallMetrics
    from getpatter.runtime.account import Account
    from getpatter.runtime.house import House

logger = logging.getLogger(__name__)


class Reports:
    """The reports of one call, each made once and told to everybody who wants it."""

    def __init__(self, identity: Identity, house: House, account: Account) -> None:
        """Report to the listeners of `house`."""
        self.clerk = Clerk(identity, house.store, house.log)
        self.nest = TaskNest(f"callbacks {identity.call_id}")
        self.callbacks = Callbacks(identity.call_id, self.nest, on_error=self._callback_failed)
        self.aftermath = Aftermath(identity, self.clerk, house.bus)
        self._identity = identity
        self._house = house
        self._account = account

    def emit(self, event: str, payload: Mapping[str, object]) -> None:
        """Put an event of this call on the bus."""
        self._house.bus.emit(
            event, {"call_id": self._identity.call_id, "timestamp": clock.wall(), **payload}
        )

    def reported(self, command: m.AnyCommand, history: History) -> None:
        """Pass on what the session reports; `history` is all that was said up to it."""
        match command:
            case m.ReportLine():
                self._said(command, history)
            case m.ReportPartial(text=text):
                self.emit("transcript_partial", {"text": text})
            case m.ReportInterruption(heard_text=heard, bargein_ms=ms):
                self.clerk.event("barge_in", {"bargein_ms": round(ms)})
                self.emit("interruption", {"heard_text": heard, "bargein_ms": ms})
            case _:
                pass

    def _said(self, line: m.ReportLine, history: History) -> None:
        payload: dict[str, object] = {
            "role": line.role,
            "text": line.text,
            "call_id": self._identity.call_id,
            "history": history.to_dicts(),
            "turn_index": line.turn_index,
            "interrupted": line.is_interrupted,
        }
        self.clerk.said(payload)
        self.callbacks.tell("on_transcript", self._house.on_transcript, payload)
        self.emit("transcript_final", payload)

    def turn_over(self, record: m.TurnRecord, seconds: float) -> None:
        """A turn is complete, `seconds` after the call began."""
        metrics = self._account.turn(record)
        payload: dict[str, object] = {
            "call_id": self._identity.call_id,
            "turn": metrics,
            "cost_so_far": self._account.cost(seconds),
            "llm_ttft_ms": latency_of(record).llm_ttft_ms,
        }
        self.clerk.turn(payload, metrics)
        self.callbacks.tell("on_metrics", self._house.on_metrics, payload)
        self.emit("metrics_collected", payload)

    def status(self, status: str) -> None:
        """The carrier's word for where the call stands."""
        self.clerk.status(status)
        self.emit("call_status", {"status": status})

    def news(self, event: RecordingFinished | CallCosted) -> None:
        """The carrier says what became of the call, perhaps long after its end."""
        self.aftermath.told(event)

    def _callback_failed(self, failure: CallbackFailed) -> None:
        self.emit(
            "callback_error",
            {"callback": failure.callback, "error": type(failure.error).__name__},
        )

    # ------------------------------------------------------------------------------------- payloads

    def start(self) -> dict[str, object]:
        """What `on_call_start` gets."""
        identity = self._identity
        return {
            "call_id": identity.call_id,
            "caller": identity.caller,
            "callee": identity.callee,
            "direction": identity.direction,
            "custom_params": dict(identity.custom_params),
            "telephony_provider": identity.carrier,
        }

    def end(
        self,
        history: History | None,
        *,
        metrics: CallMetrics,
        reason: m.EndReason,
        ended_at: float | None,
    ) -> dict[str, object]:
        """What `on_call_end` gets."""
        lines = history.to_dicts() if history is not None else []
        return {
            **self.start(),
            "transcript": [{"role": line["role"], "text": line["text"]} for line in lines],
            "ended_at": ended_at,
            "metrics": metrics,
            "history": lines,
            "conversation_history": lines,
            "reason": reason,
        }
