"""The history of calls in memory, and what comes back from disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from getpatter.dashboard.store import MetricsStore, MetricsStoreProtocol
from getpatter.models import CallMetrics, CostBreakdown, TurnMetrics
from getpatter.observability.call_log import CallLogger


def start(call_id: str, at: float = 0.0) -> dict[str, Any]:
    return {
        "call_id": call_id,
        "caller": "+15550009876",
        "callee": "+15550001234",
        "direction": "inbound",
        "telephony_provider": "twilio",
        "started_at": at,
    }


def finished(store: MetricsStore, call_id: str, at: float = 0.0, cost: float = 0.0) -> None:
    store.record_call_start(start(call_id, at))
    metrics = CallMetrics(call_id, duration_seconds=30.0, cost=CostBreakdown(stt=cost, total=cost))
    store.record_call_end(
        {**start(call_id), "ended_at": at + 30, "metrics": metrics, "reason": "x"}
    )


def test_a_call_from_start_to_end() -> None:
    store = MetricsStore()
    assert isinstance(store, MetricsStoreProtocol)
    store.record_call_start(start("CA1", 5.0))
    assert [record["status"] for record in store.get_active()] == ["in-progress"]
    store.record_transcript_line({"call_id": "CA1", "role": "user", "text": "hi", "turn_index": 0})
    store.record_turn({"call_id": "CA1", "turn": TurnMetrics(turn_index=0, user_text="hi")})
    store.record_call_end(
        {**start("CA1"), "ended_at": 9.0, "metrics": CallMetrics("CA1", 4.0), "reason": "idle"}
    )
    record = store.get_call("CA1")
    assert record is not None
    assert record["status"] == "completed"
    assert record["transcript"] == [{"role": "user", "text": "hi", "turn_index": 0}]
    assert json.dumps(record), "JSON-ready"
    assert not store.get_active_calls()


def test_a_final_status_stays() -> None:
    store = MetricsStore()
    store.record_call_initiated(start("CA1"))
    store.update_call_status("CA1", "busy")
    store.update_call_status("CA1", "in-progress")
    record = store.get_call("CA1")
    assert record is not None
    assert record["status"] == "busy"
    store.update_call_status("unknown", "busy")


def test_the_newest_come_first_and_the_oldest_go() -> None:
    store = MetricsStore(max_calls=3)
    for index in range(5):
        finished(store, f"CA{index}", at=float(index))
    assert [record["call_id"] for record in store.get_calls()] == ["CA4", "CA3", "CA2"]
    assert [record["call_id"] for record in store.get_calls(limit=1, offset=1)] == ["CA3"]
    assert [record["call_id"] for record in store.get_calls_in_range(3.0, 4.0)] == ["CA3"]
    assert store.call_count == 3


def test_a_running_call_is_kept_before_a_finished_one() -> None:
    store = MetricsStore(max_calls=2)
    store.record_call_start(start("live"))
    finished(store, "CA1")
    finished(store, "CA2")
    assert store.get_call("live") is not None


def test_totals() -> None:
    store = MetricsStore()
    finished(store, "CA1", cost=0.5)
    finished(store, "CA2", cost=0.25)
    store.record_call_start(start("CA3"))
    totals = store.get_aggregates()
    assert (totals["total_calls"], totals["active_calls"]) == (3, 1)
    assert totals["total_cost"] == pytest.approx(0.75)
    assert totals["total_minutes"] == pytest.approx(1.0)
    assert totals["avg_duration"] == pytest.approx(30.0)


def test_deleted_calls_stay_deleted_and_running_ones_are_spared(tmp_path: Path) -> None:
    store = MetricsStore()
    finished(store, "CA1")
    store.record_call_start(start("CA2"))
    assert store.delete_calls(["CA1", "CA2", "CA3"]) == ["CA1"]
    assert store.is_deleted("CA1")
    store.save_deleted(tmp_path)
    write_calls(tmp_path, ["CA1", "CA9"])
    again = MetricsStore()
    assert again.hydrate(tmp_path) == 1
    assert again.get_deleted_call_ids() == {"CA1"}


def test_listeners_are_told_and_a_failing_one_harms_nobody() -> None:
    store = MetricsStore()
    told: list[str] = []

    def broken(name: str, data: object) -> None:
        raise RuntimeError(name)

    store.subscribe(broken)
    leave = store.subscribe(lambda name, data: told.append(name))
    finished(store, "CA1")
    leave()
    store.unsubscribe(broken)
    finished(store, "CA2")
    assert told == ["call_start", "call_end"]


def write_calls(root: Path, ids: list[str], *, ended: bool = True) -> None:
    log = CallLogger(root)
    for index, call_id in enumerate(ids):
        log.log_call_start(call_id, started_at=1_767_225_600.0 + index, caller="+15550009876")
        log.log_line(call_id, at=1.0, turn_index=0, role="user", text=f"words of {call_id}")
        if ended:
            log.log_call_end(call_id, ended_at=1_767_225_700.0 + index)
    log.close()


def test_the_newest_come_back_from_disk_once(tmp_path: Path) -> None:
    write_calls(tmp_path, [f"CA{index:03d}" for index in range(60)])
    store = MetricsStore(max_calls=25)
    assert store.hydrate(tmp_path) == 25
    assert store.hydrate(tmp_path) == 0
    newest = store.get_calls(limit=1)[0]
    assert newest["call_id"] == "CA059"
    assert newest["caller"] == "***9876"
    assert newest["transcript"] == [{"role": "user", "text": "words of CA059", "turn_index": 0}]


def test_a_call_that_the_process_died_in_is_marked(tmp_path: Path) -> None:
    write_calls(tmp_path, ["CA1"], ended=False)
    store = MetricsStore()
    assert store.hydrate(tmp_path) == 1
    record = store.get_call("CA1")
    assert record is not None
    assert (record["status"], record["reason"]) == ("failed", "process ended")


@pytest.mark.parametrize(
    "rubbish", [b"", b"{", b"[]", b'{"call_id": 5}', b'{"call_id": "x"}', b"\xff"]
)
def test_rubbish_on_disk_is_passed_over(tmp_path: Path, rubbish: bytes) -> None:
    write_calls(tmp_path, ["CA1"])
    folder = tmp_path / "calls" / "2026" / "01" / "02" / "CAx"
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_bytes(rubbish)
    assert MetricsStore().hydrate(tmp_path) == 1


def test_an_empty_or_missing_root_restores_nothing(tmp_path: Path) -> None:
    assert MetricsStore().hydrate(tmp_path) == 0
    assert MetricsStore().hydrate(tmp_path / "nowhere") == 0


def test_a_store_has_room_for_one_at_least() -> None:
    with pytest.raises(ValueError, match="max_calls"):
        MetricsStore(max_calls=0)
