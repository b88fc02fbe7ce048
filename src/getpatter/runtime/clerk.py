"""Writes down what happens in one call: into the store, and onto disk where that is wanted.

It only listens: a store that fails, or a disk that is full, costs the record, never the call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from getpatter.runtime import clock
from getpatter.runtime.identity import Identity, name_of_provider

if TYPE_CHECKING:
    from getpatter.agent import Agent
    from getpatter.models import CallMetrics, CostBreakdown, TurnMetrics
    from getpatter.observability.call_log import CallLogger

from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)


class CallStore(Protocol):
    """Where records of calls are kept in memory; `dashboard/store.py` has the usual one."""

    def record_call_initiated(self, event: Mapping[str, object]) -> None:
        """A call is being placed."""
        ...

    def record_call_start(self, event: Mapping[str, object]) -> None:
        """Media is connected."""
        ...

    def update_call_status(self, call_id: str, status: str) -> None:
        """The carrier's word for where a call stands."""
        ...

    def record_transcript_line(self, event: Mapping[str, object]) -> None:
        """One utterance."""
        ...

    def record_turn(self, event: Mapping[str, object]) -> None:
        """A turn is complete."""
        ...

    def record_call_end(self, event: Mapping[str, object]) -> None:
        """The call is over."""
        ...

    def record_call_cost(self, call_id: str, cost: Mapping[str, object]) -> None:
        """The carrier has billed a call: its cost, with the actual price instead of the estimate."""
        ...

    def record_recording(self, call_id: str, recording: Mapping[str, object]) -> None:
        """The carrier has a recording of a call."""
        ...


class Clerk:
    """The records of one call."""

    def __init__(self, identity: Identity, store: CallStore | None, log: CallLogger | None) -> None:
        """Write into `store` and `log`, where there are any."""
        self._identity = identity
        self._store = store
        self._log = log if log is not None and log.enabled else None
        self._line: Mapping[str, object] | None = None

    def _keep(self, write: Callable[..., None] | None, *what: object) -> None:
        if write is None:
            return
        try:
            write(*what)
        except Exception as error:
            logger.warning(
                "store.failed error=%s", type(error).__name__, exc_info=without_text(error)
            )

    def placed(self, payload: Mapping[str, object]) -> None:
        """The carrier has accepted our call."""
        if self._store is not None:
            event = {**payload, "started_at": clock.wall()}
            self._keep(self._store.record_call_initiated, event)

    def started(self, payload: Mapping[str, object], agent: Agent, *, trace_id: str = "") -> None:
        """Media is connected."""
        now = clock.wall()
        if self._store is not None:
            event = {
                **payload,
                "started_at": now,
                "provider_mode": mode_of(agent),
                "agent": described(agent),
            }
            self._keep(self._store.record_call_start, event)
        if self._log is not None:
            identity = self._identity
            self._log.log_call_start(
                identity.call_id,
                started_at=now,
                caller=identity.caller,
                callee=identity.callee,
                direction=identity.direction,
                telephony_provider=identity.carrier,
                provider_mode=mode_of(agent),
                agent=described(agent),
                trace_id=trace_id,
            )

    def status(self, status: str) -> None:
        """The carrier's word for where the call stands."""
        if self._store is not None:
            self._keep(self._store.update_call_status, self._identity.call_id, status)

    def said(self, payload: Mapping[str, object]) -> None:
        """One utterance. The agent's is written with its turn, which says what it took."""
        if self._store is not None:
            self._keep(self._store.record_transcript_line, payload)
        if payload["role"] == "assistant":
            self._line = payload
        else:
            self._write_line(payload)

    def turn(self, payload: Mapping[str, object], turn: TurnMetrics) -> None:
        """A turn is complete."""
        if self._store is not None:
            self._keep(self._store.record_turn, payload)
        line, self._line = self._line, None
        if line is not None:
            measured = turn.to_dict()
            self._write_line(
                line,
                latency=measured["latency"],
                stt_audio_seconds=measured["stt_audio_seconds"],
                tts_characters=measured["tts_characters"],
                interrupted=measured["interrupted"],
            )

    def _write_line(self, payload: Mapping[str, object], **more: object) -> None:
        if self._log is not None:
            index = payload["turn_index"]
            self._log.log_line(
                self._identity.call_id,
                at=clock.wall(),
                turn_index=index if isinstance(index, int) else 0,
                role=str(payload["role"]),
                text=str(payload["text"]),
                **more,
            )

    def event(self, kind: str, data: Mapping[str, object]) -> None:
        """A tool, an interruption, a key, a transfer, a guardrail, an error."""
        if self._log is not None:
            self._log.log_event(self._identity.call_id, kind, data, at=clock.wall())

    def ended(self, payload: Mapping[str, object], metrics: CallMetrics, status: str) -> None:
        """The call is over."""
        if self._store is not None:
            self._keep(self._store.record_call_end, {**payload, "status": status})
        if self._log is not None:
            ended_at = payload["ended_at"]
            self._log.log_call_end(
                self._identity.call_id,
                ended_at=ended_at if isinstance(ended_at, float) else clock.wall(),
                status=status,
                reason=str(payload["reason"]),
                metrics=metrics.to_dict(),
                error=metrics.error_code or None,
                **{key: payload[key] for key in ("recording_path",) if key in payload},
            )

    def billed(self, cost: CostBreakdown) -> None:
        """The carrier has billed the call, which is over; `cost` has its price instead of the estimate."""
        call_id, parts = self._identity.call_id, cost.to_dict()
        # A store of a program may be older than these two.
        self._keep(getattr(self._store, "record_call_cost", None), call_id, parts)
        if self._log is not None:
            self._log.amend(call_id, cost=parts)

    def recorded(self, recording: Mapping[str, object]) -> None:
        """The carrier has a recording of the call, which may still run."""
        call_id = self._identity.call_id
        self._keep(getattr(self._store, "record_recording", None), call_id, recording)
        if self._log is not None:
            self._log.amend(call_id, recording=dict(recording))


def mode_of(agent: Agent) -> str:
    """`pipeline`, or the kind of the engine."""
    return agent.engine.kind if agent.engine is not None else "pipeline"


def described(agent: Agent) -> dict[str, object]:
    """What a record says of an agent: never its prompt."""
    return {
        "provider": mode_of(agent),
        "engine": agent.engine.kind if agent.engine is not None else "",
        "model": agent.model or name_of_provider(agent.llm),
        "voice": agent.voice or name_of_provider(agent.tts),
        "language": str(agent.language),
    }
