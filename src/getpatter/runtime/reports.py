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
from getpatter.runtime.clerk import Clerk, mode_of
from getpatter.runtime.identity import Identity
from getpatter.runtime.tasks import TaskNest

if TYPE_CHECKING:
    from getpatter.agent import Agent
    from getpatter.carriers.base import CallCosted, RecordingFinished
    from getpatter.core.history import History
    from getpatter.models import CallMetrics
    from getpatter.runtime.account import Account
    from getpatter.runtime.call import Counters
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
        self._status = ""

    def wants(self, event: str) -> bool:
        """Whether anybody wants to know: ask before making a costly payload."""
        house = self._house
        return house.bus.wants(event) or any(event in each.wanted for each in house.observers)

    def emit(self, event: str, payload: Mapping[str, object]) -> None:
        """Tell an event of this call: the bus, those who observe calls, and the written record."""
        self._write_down(event, payload)
        if self.wants(event):
            told = {"call_id": self._identity.call_id, "timestamp": clock.wall(), **payload}
            self._house.bus.emit(event, told)
            self._observe(event, told)

    def _observe(self, event: str, told: Mapping[str, object]) -> None:
        for observer in self._house.observers:
            if event in observer.wanted:
                observer.note(event, told)

    def write(self, kind: str, data: Mapping[str, object]) -> None:
        """Put an event into the written record."""
        self.clerk.event(kind, data)

    def _write_down(self, event: str, payload: Mapping[str, object]) -> None:
        match event:
            case "tool_call_started":
                self.write("tool_call", _some(payload, "name", "arguments", "tool_call_id"))
            case "tool_call_completed":
                self.write("tool_result", payload)
            case "interruption":
                self.write("barge_in", _some(payload, "bargein_ms"))
            case "handoff":
                self.write("handoff", _some(payload, "name"))
            case "guardrail_triggered":
                self.write("guardrail", payload)
            case "error":
                self.write("error", payload)
            case _:
                pass

    def speech(self, name: str, timestamp_ms: float, turn: int, more: Mapping[str, object]) -> None:
        """Somebody began or ended speaking: tell the callback of that name, if one is set."""
        function = self._house.speech.get(name)
        if function is not None:
            payload = {
                "call_id": self._identity.call_id,
                "timestamp_ms": timestamp_ms,
                "turn_idx": turn,
                **more,
            }
            self.callbacks.tell(name, function, payload)

    def failed(self, stage: str, error: str, *, code: str = "", provider: str = "") -> None:
        """Something of this call failed; `error` is the name of an exception, never its text."""
        told = {"code": code, "stage": stage, "provider": provider, "error": error}
        self.emit("error", told)

    def began(self, agent: Agent) -> None:
        """Media is connected."""
        told = {
            **self.start(),
            "timestamp": clock.wall(),
            "provider_mode": mode_of(agent),
        }
        self._observe("call_started", told)
        traces = [each.trace_id(self._identity.call_id) for each in self._house.observers]
        self.clerk.started(self.start(), agent, trace_id="".join(traces))
        del told["provider_mode"]
        self._house.bus.emit("call_started", told)
        self._tell_status("in-progress")

    def over(self, payload: Mapping[str, object], status: str, counters: Counters) -> None:
        """The call is over; `counters` says what was lost on the way."""
        self._tell_status(status)
        told = {**payload, "timestamp": clock.wall()}
        self._house.bus.emit("call_ended", told)
        self._observe("call_ended", {**told, "frames_dropped": counters.frames_dropped})

    def reported(self, command: m.AnyCommand, history: History) -> None:
        """Pass on what the session reports; `history` is all that was said up to it."""
        match command:
            case m.ReportLine():
                self._said(command, history)
            case m.ReportPartial(text=text):
                self.emit("transcript_partial", {"text": text})
            case m.ReportInterruption(heard_text=heard, bargein_ms=ms, unsaid_letters=unsaid):
                self.emit(
                    "interruption",
                    {"heard_text": heard, "bargein_ms": ms, "unsaid_letters": unsaid},
                )
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
        told = {"turn_index": metrics.turn_index, "turn": metrics}
        self.emit("turn_ended", told)
        self.emit("metrics_collected", {**payload, **told})

    def status(self, status: str) -> None:
        """The carrier's word for where the call stands."""
        self.clerk.status(status)
        self._tell_status(status)

    def _tell_status(self, status: str) -> None:
        """Tell it once, whether the carrier says so or the call itself shows it."""
        is_news, self._status = status != self._status, status
        if is_news and self.wants("call_status"):
            told = {"call_id": self._identity.call_id, "timestamp": clock.wall(), "status": status}
            self._house.bus.emit("call_status", told)
            where = {
                "direction": self._identity.direction,
                "telephony_provider": self._identity.carrier,
            }
            self._observe("call_status", {**told, **where})

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
        recording_path: str = "",
    ) -> dict[str, object]:
        """What `on_call_end` gets."""
        lines = history.to_dicts() if history is not None else []
        recorded = {"recording_path": recording_path} if recording_path else {}
        return {
            **recorded,
            **self.start(),
            "transcript": [{"role": line["role"], "text": line["text"]} for line in lines],
            "ended_at": ended_at,
            "metrics": metrics,
            "history": lines,
            "conversation_history": lines,
            "reason": reason,
        }


def _some(payload: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: payload[name] for name in names if name in payload}
