"""Calls on disk: what is where, who may read it, and what a torn line costs."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from getpatter.observability.call_log import (
    CallLogger,
    append_line,
    read_lines,
    remove_old_days,
    safe_name,
)

STARTED = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def one_call(root: Path, call_id: str = "CA1") -> Path:
    log = CallLogger(root)
    log.log_call_start(
        call_id,
        started_at=STARTED,
        caller="+15550009876",
        callee="+15550001234",
        direction="inbound",
    )
    log.log_line(call_id, at=STARTED + 1, turn_index=0, role="user", text="call +15550007777")
    log.log_event(call_id, "transfer", {"to": "+15550002222", "n": 5}, at=STARTED + 2)
    log.log_call_end(
        call_id,
        ended_at=STARTED + 60,
        reason="caller_hangup",
        metrics={"duration_seconds": 60.0, "turns": [{}, {}], "latency_p95": {"total_ms": 700.0}},
    )
    log.close()
    return root / "calls" / "2026" / "01" / "01" / safe_name(call_id)


def test_a_call_has_a_directory_of_its_day_with_three_files(tmp_path: Path) -> None:
    folder = one_call(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [
        "events.jsonl",
        "metadata.json",
        "transcript.jsonl",
    ]
    meta = json.loads((folder / "metadata.json").read_text())
    assert meta["schema_version"] == "1.0"
    assert meta["started_at"] == "2026-01-01T00:00:00.000Z"
    assert (meta["duration_ms"], meta["turns"], meta["status"]) == (60_000, 2, "completed")
    assert meta["latency"]["p95_ms"] == 700.0
    (line,) = read_lines(folder / "transcript.jsonl")
    assert (line["ts"], line["role"]) == ("2026-01-01T00:00:01.000Z", "user")


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ("", "***9876"),
        ("mask", "***9876"),
        ("0", "+15550009876"),
        ("full", "+15550009876"),
        ("?", "***9876"),
    ],
)
def test_numbers_are_redacted_as_the_setting_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, shown: str
) -> None:
    monkeypatch.setenv("PATTER_LOG_REDACT_PHONE", setting)
    folder = one_call(tmp_path)
    assert json.loads((folder / "metadata.json").read_text())["caller"] == shown
    (event,) = read_lines(folder / "events.jsonl")
    data: Any = event["data"]
    assert data["to"] == shown.replace("9876", "2222")
    assert data["n"] == 5
    (line,) = read_lines(folder / "transcript.jsonl")
    assert line["text"] == "call +15550007777"  # never redacted: the documentation says so


def test_hashes_are_comparable_inside_one_root_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATTER_LOG_REDACT_PHONE", "hash_only")
    hashes = [
        json.loads((one_call(tmp_path / root, call) / "metadata.json").read_text())["caller"]
        for root, call in (("a", "CA1"), ("a", "CA2"), ("b", "CA1"))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert hashes[0].startswith("sha256:")
    assert len(hashes[0]) == len("sha256:") + 16


def test_only_the_owner_reads_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        folder = one_call(tmp_path / "root")
    finally:
        os.umask(before)
    modes = {
        path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in [tmp_path / "root", *(tmp_path / "root").rglob("*")]
    }
    assert {mode for name, mode in modes.items() if name.endswith(("json", "jsonl"))} == {0o600}
    assert {mode for name, mode in modes.items() if "." not in name.split("/")[-1]} == {0o700}
    assert folder.is_dir()


def test_off_means_no_file_and_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = CallLogger(None)
    log.log_call_start("CA1", started_at=STARTED)
    log.log_line("CA1", at=STARTED, turn_index=0, role="user", text="x")
    log.log_call_end("CA1", ended_at=STARTED)
    log.close()
    assert not log.enabled
    assert not list(tmp_path.iterdir())


def test_a_torn_line_costs_itself_only(tmp_path: Path) -> None:
    path = tmp_path / "transcript.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": 2')
    log = CallLogger(tmp_path)
    log.close()
    append_line(path, {"n": 3})
    assert read_lines(path) == [{"n": 1}, {"n": 3}]


def test_a_disk_that_refuses_is_named_once_and_harms_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "calls").write_text("a file where the directory should be")
    with caplog.at_level(logging.WARNING):
        one_call(tmp_path)
    assert [r.getMessage().split(" ")[0] for r in caplog.records] == ["call_log.not_written"]


@pytest.mark.parametrize("call_id", ["../../etc/passwd", "a" * 500, "", "CA:1", "CA/1", ".."])
def test_ids_become_one_safe_segment(call_id: str) -> None:
    name = safe_name(call_id)
    assert 0 < len(name) <= 64
    assert "/" not in name
    assert ".." not in name


def test_two_ids_never_share_a_directory() -> None:
    names = {safe_name(each) for each in ("CA:1", "CA/1", "CA_1", "CA.1", "a" * 65, "a" * 66)}
    assert len(names) == 6


def test_old_days_go_and_nothing_else(tmp_path: Path) -> None:
    for day in ("2025/11/30", "2025/12/15", "notes/12/01"):
        (tmp_path / "calls" / day).mkdir(parents=True)
    assert remove_old_days(tmp_path, now=STARTED, days=0) == 0
    assert remove_old_days(tmp_path, now=STARTED, days=30) == 1
    left = sorted(
        p.relative_to(tmp_path / "calls").as_posix() for p in tmp_path.glob("calls/*/*/*")
    )
    assert left == ["2025/12/15", "notes/12/01"]
