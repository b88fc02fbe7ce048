"""The history of calls in memory: bounded, safe from several threads, refilled from disk after a restart.

The store only listens. Nothing about a call is decided here, so nothing changes when there is none.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from getpatter.dashboard import archive
from getpatter.dashboard.archive import ACTIVE, Record
from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

Listener = Callable[[str, Record], object]

COSTS: Final = ("stt", "tts", "llm", "telephony")
_IDENTITY: Final = ("caller", "callee", "direction", "telephony_provider")
_WORKINGS: Final = ("provider_mode", "agent")


@runtime_checkable
class MetricsStoreProtocol(Protocol):
    """What a store of your own must have for `serve(store=...)`."""

    def record_call_initiated(self, event: Mapping[str, object]) -> None:
        """A call is being placed, or rings."""
        ...

    def record_call_start(self, event: Mapping[str, object]) -> None:
        """Media is connected; the payload of `on_call_start`."""
        ...

    def update_call_status(self, call_id: str, status: str) -> None:
        """The carrier's word for where a call stands."""
        ...

    def record_transcript_line(self, event: Mapping[str, object]) -> None:
        """One utterance; the payload of `on_transcript`."""
        ...

    def record_turn(self, event: Mapping[str, object]) -> None:
        """A turn is complete; the payload of `on_metrics`."""
        ...

    def record_call_end(self, event: Mapping[str, object]) -> None:
        """The call is over; the payload of `on_call_end`."""
        ...

    def get_calls(self, limit: int = 50, offset: int = 0) -> Sequence[Mapping[str, object]]:
        """Calls, newest first."""
        ...

    def get_call(self, call_id: str) -> Mapping[str, object] | None:
        """One call, running or over."""
        ...

    def get_active_calls(self) -> Sequence[Mapping[str, object]]:
        """Calls that are not over."""
        ...

    def get_calls_in_range(
        self, from_ts: float | None, to_ts: float | None
    ) -> Sequence[Mapping[str, object]]:
        """Calls that began in `[from_ts, to_ts)` (Unix time), newest first; `None` leaves a side open."""
        ...

    def get_aggregates(self) -> Mapping[str, object]:
        """Totals: the documented fields."""
        ...

    def delete_calls(self, call_ids: Iterable[str]) -> Sequence[str]:
        """Forget calls that are over; returns those that were."""
        ...

    def get_deleted_call_ids(self) -> Iterable[str]:
        """All calls that were deleted."""
        ...

    def subscribe(self, listener: Listener) -> object:
        """Be told `(type, data)` of every change."""
        ...

    def unsubscribe(self, listener: Listener) -> None:
        """Be told no more. Idempotent."""
        ...


class MetricsStore:
    """The newest `max_calls` calls."""

    def __init__(self, max_calls: int = 500) -> None:
        """Begin empty.

        Raises:
            ValueError: `max_calls` is not positive.
        """
        if max_calls < 1:
            raise ValueError(f"max_calls must be 1 or more, got {max_calls}")
        self._most = max_calls
        self._calls: OrderedDict[str, Record] = OrderedDict()
        self._deleted: set[str] = set()
        self._listeners: list[Listener] = []
        self._lock = threading.RLock()
        self.webhook_error = ""
        """Why the carrier's webhook could not be set; empty: it was, or was not asked for."""

    # ------------------------------------------------------------------------------------- writing

    def record_call_initiated(self, event: Mapping[str, object]) -> None:
        """A call is being placed, or rings."""
        self._update(event, {"status": "initiated"}, "call_initiated")

    def record_call_start(self, event: Mapping[str, object]) -> None:
        """Media is connected; the payload of `on_call_start`, with `started_at`."""
        self._update(event, {"status": "in-progress"}, "call_start")

    def update_call_status(self, call_id: str, status: str) -> None:
        """The carrier's word for where a call stands; a final one stays."""
        with self._lock:
            record = self._calls.get(call_id)
            if record is None or record["status"] not in ACTIVE:
                return
            record["status"] = status
            self._tell("call_status", {"call_id": call_id, "status": status})

    def record_transcript_line(self, event: Mapping[str, object]) -> None:
        """One utterance; the payload of `on_transcript`."""
        line = {key: event[key] for key in ("role", "text", "turn_index") if key in event}
        with self._lock:
            record = self._calls.get(str(event.get("call_id", "")))
            if record is not None:
                _list(record, "transcript").append(line)
                self._tell("transcript_line", {"call_id": record["call_id"], **line})

    def record_turn(self, event: Mapping[str, object]) -> None:
        """A turn is complete; the payload of `on_metrics`."""
        turn = _plain(event.get("turn"))
        with self._lock:
            record = self._calls.get(str(event.get("call_id", "")))
            if record is not None:
                _list(record, "turns").append(turn)
                self._tell("turn_complete", {"call_id": record["call_id"], "turn": turn})

    def record_call_end(self, event: Mapping[str, object]) -> None:
        """The call is over; the payload of `on_call_end`."""
        metrics = _plain(event.get("metrics"))
        duration = metrics.get("duration_seconds") if isinstance(metrics, dict) else None
        over: Record = {
            "status": event.get("status", "completed"),
            "ended_at": event.get("ended_at"),
            "duration_seconds": duration,
            "metrics": metrics,
            "reason": event.get("reason", ""),
        }
        if event.get("recording_path"):
            over["recording_path"] = event["recording_path"]
        with self._lock:
            record = self._known(event)
            record.update(over)
            if not record["transcript"]:
                record["transcript"] = _plain(event.get("transcript", [])) or []
            if not record["turns"] and isinstance(metrics, dict):
                record["turns"] = list(metrics.get("turns") or [])
            self._tell("call_end", {"call_id": record["call_id"], "metrics": metrics})

    def record_call_cost(self, call_id: str, cost: Mapping[str, object]) -> None:
        """The carrier has billed a call: its cost, with the actual price instead of the estimate."""
        with self._lock:
            record = self._calls.get(call_id)
            if record is not None:
                metrics = record.get("metrics")
                known = metrics if isinstance(metrics, Mapping) else {}
                record["metrics"] = {**known, "cost": dict(cost)}
                self._tell("call_cost_updated", {"call_id": call_id, "cost": dict(cost)})

    def record_recording(self, call_id: str, recording: Mapping[str, object]) -> None:
        """The carrier has a recording of a call."""
        with self._lock:
            record = self._calls.get(call_id)
            if record is not None:
                record["recording"] = dict(recording)
                self._tell("recording_ready", {"call_id": call_id, **recording})

    def _update(self, event: Mapping[str, object], more: Record, name: str) -> None:
        with self._lock:
            record = self._known(event)
            record.update(more)
            self._tell(name, dict(record))

    def _known(self, event: Mapping[str, object]) -> Record:
        call_id = str(event["call_id"])
        record = self._calls.get(call_id)
        if record is None:
            record = self._calls[call_id] = {
                "call_id": call_id,
                "started_at": event.get("started_at", event.get("timestamp")),
                "status": "initiated",
                "turns": [],
                "transcript": [],
            }
            self._trim()
        for key in _IDENTITY:
            record[key] = event.get(key, record.get(key, ""))
        for key in _WORKINGS:
            if key in event:
                record[key] = event[key]
        return record

    def _trim(self) -> None:
        while len(self._calls) > self._most:
            finished = (i for i, r in self._calls.items() if r["status"] not in ACTIVE)
            oldest = next(finished, None)
            self._calls.pop(oldest if oldest is not None else next(iter(self._calls)))

    # ------------------------------------------------------------------------------------- reading

    def get_calls(self, limit: int = 50, offset: int = 0) -> list[Record]:
        """Calls, newest first."""
        with self._lock:
            newest = list(reversed(self._calls.values()))
            return [_copied(record) for record in newest[offset : offset + limit]]

    def get_call(self, call_id: str) -> Record | None:
        """One call, running or over."""
        with self._lock:
            record = self._calls.get(call_id)
            return _copied(record) if record is not None else None

    def get_active(self) -> list[Record]:
        """Calls that are not over."""
        with self._lock:
            return [_copied(r) for r in self._calls.values() if r["status"] in ACTIVE]

    get_active_calls = get_active

    def get_calls_in_range(self, from_ts: float | None, to_ts: float | None) -> list[Record]:
        """Calls that began in `[from_ts, to_ts)`, newest first; `None` leaves a side open."""
        return [
            record
            for record in self.get_calls(limit=self._most)
            if (from_ts is None or _seconds(record["started_at"]) >= from_ts)
            and (to_ts is None or _seconds(record["started_at"]) < to_ts)
        ]

    def get_aggregates(self) -> Record:
        """Totals over what pagination can reach."""
        with self._lock:
            records = list(self._calls.values())
        over = [record for record in records if record["status"] not in ACTIVE]
        durations = [_number(record.get("duration_seconds")) for record in over]
        costs = {name: sum(cost_of(record, name) for record in over) for name in COSTS}
        latencies = [value for record in over if (value := latency_of(record)) > 0]
        return {
            "total_calls": len(records),
            "total_minutes": sum(durations) / 60,
            "total_cost": sum(costs.values()),
            "avg_duration": sum(durations) / len(durations) if durations else 0.0,
            "avg_latency_ms": sum(latencies) / len(latencies) if latencies else 0.0,
            "cost_breakdown": costs,
            "active_calls": len(records) - len(over),
        }

    @property
    def call_count(self) -> int:
        """How many calls are kept."""
        with self._lock:
            return len(self._calls)

    # ------------------------------------------------------------------------------------ deleting

    def delete_calls(self, call_ids: Iterable[str]) -> list[str]:
        """Forget calls that are over; returns those that were. They do not come back by `hydrate`."""
        deleted: list[str] = []
        with self._lock:
            for call_id in call_ids:
                record = self._calls.get(call_id)
                if record is not None and record["status"] not in ACTIVE:
                    del self._calls[call_id]
                    self._deleted.add(call_id)
                    deleted.append(call_id)
            if deleted:
                self._tell("calls_deleted", {"call_ids": list(deleted)})
        return deleted

    def is_deleted(self, call_id: str) -> bool:
        """Whether the call was deleted."""
        with self._lock:
            return call_id in self._deleted

    def get_deleted_call_ids(self) -> set[str]:
        """All calls that were deleted."""
        with self._lock:
            return set(self._deleted)

    # ----------------------------------------------------------------------------------- listening

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Be told `(type, data)` of every change, on the thread that made it. Returns the way out."""
        with self._lock:
            self._listeners.append(listener)
        return lambda: self.unsubscribe(listener)

    def unsubscribe(self, listener: Listener) -> None:
        """Be told no more. Idempotent."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def _tell(self, name: str, data: Record) -> None:
        for listener in list(self._listeners):
            try:
                listener(name, data)
            except Exception as error:
                logger.exception("store.listener_failed", exc_info=without_text(error))

    # ----------------------------------------------------------------------------------- from disk

    def hydrate(self, log_root: str | os.PathLike[str]) -> int:
        """Restore the newest calls from disk; returns how many. Known ids are skipped, so twice is once.

        A record that cannot be read is logged at DEBUG and passed over. A call that the process was killed in
        comes back as `failed`. Blocks; `hydrate_async` does not.
        """
        root = Path(log_root).expanduser()
        deleted = archive.read_deleted(root)
        with self._lock:
            self._deleted |= deleted
            room = self._most - len(self._calls)
            known = self._deleted | set(self._calls)
        # Reading takes as long as it takes; calls go on being recorded meanwhile.
        news = (one for one in archive.newest_calls(root) if one["call_id"] not in known)
        found = [archive.completed(record) for record in islice(news, max(0, room))]
        with self._lock:
            found = [one for one in found if one["call_id"] not in self._calls]
            found = found[: max(0, self._most - len(self._calls))]
            self._calls.update((str(record["call_id"]), record) for record in found)
            by_start = sorted(self._calls.items(), key=lambda item: _seconds(item[1]["started_at"]))
            self._calls = OrderedDict(by_start)
        return len(found)

    async def hydrate_async(self, log_root: str | os.PathLike[str]) -> int:
        """`hydrate`, in a thread."""
        return await asyncio.to_thread(self.hydrate, log_root)

    def save_deleted(self, log_root: str | os.PathLike[str]) -> None:
        """Keep the list of deleted calls beside the calls, so that they stay deleted after a restart."""
        archive.keep_deleted(Path(log_root).expanduser(), self.get_deleted_call_ids())


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


_number = _seconds


def _plain(value: object) -> object:
    """JSON-ready, for the record: metrics classes give theirs by `to_dict`."""
    to_dict = getattr(value, "to_dict", None)
    return to_dict() if callable(to_dict) else value


def _list(record: Record, key: str) -> list[object]:
    value = record[key]
    assert isinstance(value, list), "made as a list"
    return value


def _copied(record: Record) -> Record:
    return {key: list(v) if isinstance(v, list) else v for key, v in record.items()}


def _part(record: Mapping[str, object], *names: str) -> float:
    value: object = record.get("metrics")
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return _number(value)


def cost_of(record: Mapping[str, object], name: str) -> float:
    """What one kind of service cost in this call, in USD."""
    return _part(record, "cost", name)


def latency_of(record: Mapping[str, object]) -> float:
    """Milliseconds that the caller of this call waited for an answer, on average; 0.0: not known."""
    return _part(record, "latency_avg", "total_ms") or _part(record, "latency", "p50_ms")
