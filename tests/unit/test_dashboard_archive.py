"""What comes back from disk, newest first, and what is removed from it."""

from __future__ import annotations

import json
from pathlib import Path

from getpatter.dashboard import archive
from getpatter.dashboard.board import Board
from getpatter.dashboard.store import MetricsStore
from getpatter.observability.call_log import CallLogger, iso

BEGAN = 1_767_225_600.0


def test_the_newest_500_of_1200_and_then_none(tmp_path: Path) -> None:
    for number in range(1200):
        began = BEGAN + number * 600  # nine days
        day = (iso(began) or "")[:10].replace("-", "/")
        folder = tmp_path / "calls" / day / f"CA{number}"
        folder.mkdir(parents=True)
        meta = {"call_id": f"CA{number}", "started_at": iso(began), "ended_at": iso(began + 60)}
        (folder / "metadata.json").write_text(json.dumps(meta))
    store = MetricsStore(max_calls=500)
    assert store.hydrate(tmp_path) == 500
    assert store.hydrate(tmp_path) == 0
    ids = [call["call_id"] for call in store.get_calls(limit=1000)]
    assert ids == [f"CA{number}" for number in range(1199, 699, -1)]


async def test_turns_come_back_with_their_latency(tmp_path: Path) -> None:
    log = CallLogger(tmp_path)
    log.log_call_start("CA1", started_at=BEGAN)
    said = [("assistant", "Hello", 0, 0.0), ("user", "hi", 1, 0.0), ("assistant", "yes", 1, 800.0)]
    for role, text, turn, total in said:
        more = {"latency": {"total_ms": total}} if role == "assistant" else {}
        log.log_line("CA1", at=BEGAN, turn_index=turn, role=role, text=text, **more)
    log.log_call_end("CA1", ended_at=BEGAN + 60)
    log.close()
    store = MetricsStore()
    assert await store.hydrate_async(tmp_path) == 1
    call = store.get_call("CA1")
    assert call is not None
    assert call["turns"] == [
        {"turn_index": 0, "user_text": "", "agent_text": "Hello", "latency": {"total_ms": 0.0}},
        {"turn_index": 1, "user_text": "hi", "agent_text": "yes", "latency": {"total_ms": 800.0}},
    ]
    assert store.get_aggregates()["avg_latency_ms"] == 800.0
    assert "_folder" not in call


def test_purging_removes_one_call_and_its_recording_only(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "CA1.wav"
    log = CallLogger(root)
    for call_id in ("CA1", "CA2", "../.."):
        log.log_call_start(call_id, started_at=BEGAN)
        log.log_call_end(call_id, ended_at=BEGAN + 60, recording_path=str(elsewhere))
    log.close()
    elsewhere.write_bytes(b"RIFF")
    store = MetricsStore()
    store.hydrate(root)
    board = Board(store, root=root)
    assert board.delete(["CA1"], purges=True) == {"deleted": ["CA1"], "count": 1}
    assert board.delete(["../.."], purges=True)["count"] == 1
    assert not elsewhere.exists()
    assert [path.name for path in root.glob("calls/*/*/*/*")] == ["CA2"]
    assert archive.read_deleted(root) == {"CA1", "../.."}
    board.close()


def test_two_processes_that_delete_keep_what_the_other_has_deleted(tmp_path: Path) -> None:
    archive.keep_deleted(tmp_path, ["CA1"])
    archive.keep_deleted(tmp_path, ["CA2"])
    assert archive.read_deleted(tmp_path) == {"CA1", "CA2"}


def test_files_that_cannot_be_removed_are_told(tmp_path: Path) -> None:
    store = MetricsStore()
    store.record_call_start({"call_id": "CA1"})
    store.record_call_end({"call_id": "CA1", "recording_path": str(tmp_path / "folder.wav")})
    (tmp_path / "folder.wav").mkdir()
    answer = Board(store).delete(["CA1"], purges=True)
    assert answer == {"deleted": ["CA1"], "count": 1, "not_purged": ["CA1"]}
