"""Calls as CSV and JSON, and the dates that choose them."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from getpatter import calls_to_csv, calls_to_json
from getpatter.dashboard.export import COLUMNS, Period


def call(**more: Any) -> dict[str, Any]:
    return {
        "call_id": "CA1",
        "caller": "+15550009876",
        "callee": "+15550001234",
        "direction": "inbound",
        "started_at": 1_767_225_600.0,
        "ended_at": 1_767_225_630.5,
        "duration_seconds": 30.5,
        "status": "completed",
        "transcript": [{"role": "user", "text": "hi", "turn_index": 0}],
        "turns": [{"turn_index": 0}],
        "metrics": {
            "cost": {"stt": 0.01, "tts": 0.02, "llm": 0.03, "telephony": 0.04},
            "latency_avg": {"total_ms": 812.34},
            "provider_mode": "pipeline",
        },
    } | more


def rows(calls: list[dict[str, Any]]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(calls_to_csv(calls), newline="")))


def test_a_line_a_call() -> None:
    text = calls_to_csv([call()])
    assert text.splitlines()[0] == ",".join(COLUMNS)
    assert text.endswith("\r\n")
    assert rows([call()]) == [
        {
            "call_id": "CA1",
            "caller": "+15550009876",
            "callee": "+15550001234",
            "direction": "inbound",
            "started_at": "2026-01-01T00:00:00.000Z",
            "ended_at": "2026-01-01T00:00:30.500Z",
            "duration_s": "30.500",
            "cost_total": "0.100000",
            "cost_stt": "0.010000",
            "cost_tts": "0.020000",
            "cost_llm": "0.030000",
            "cost_telephony": "0.040000",
            "avg_latency_ms": "812.3",
            "turns_count": "1",
            "provider_mode": "pipeline",
        }
    ]


def test_a_running_call_has_empty_fields() -> None:
    running = call(ended_at=None, duration_seconds=None, metrics=None, turns=[], call_id=None)
    (row,) = rows([running])
    assert (row["ended_at"], row["duration_s"], row["call_id"]) == ("", "", "")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("+15550009876", "+15550009876"),
        ("-12.5", "-12.5"),
        ("-12.5\n=1", "'-12.5\n=1"),
        ('a "quoted", name', 'a "quoted", name'),
        ("two\r\nlines", "two\r\nlines"),
        ("sip:+15550001@example", "sip:+15550001@example"),
        ("+١٢٣", "'+١٢٣"),
    ],
)
def test_no_field_is_a_formula_and_none_is_lost(written: str, read: str) -> None:
    assert rows([call(caller=written)])[0]["caller"] == read


def test_json_has_everything() -> None:
    assert json.loads(calls_to_json([call()])) == [call()]
    assert json.loads(calls_to_json([])) == []


def unix(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type] # a date's parts


@pytest.mark.parametrize(
    ("begins", "ends", "period"),
    [
        ("", "", Period()),
        ("2026-01-31", "", Period(unix(2026, 1, 31))),
        ("", "2026-01-31", Period(None, unix(2026, 2, 1))),
        ("", "2026-01-31T00:00:00", Period(None, unix(2026, 1, 31))),
        ("2026-01-31T12:00:00Z", "", Period(unix(2026, 1, 31, 12))),
        ("2026-01-31T12:00:00+02:00", "", Period(unix(2026, 1, 31, 10))),
        ("2026-01-31T12:00:00 02:00", "", Period(unix(2026, 1, 31, 10))),
        ("2026-01-31 12:00", "", Period(unix(2026, 1, 31, 12))),
        ("2026-01-31T12:00:00.5Z", "", Period(unix(2026, 1, 31, 12) + 0.5)),
    ],
)
def test_dates(begins: str, ends: str, period: Period) -> None:
    assert Period.of(begins, ends) == period


@pytest.mark.parametrize(
    "text",
    ["yesterday", "2026-13-01", "2026-02-30", "1e9", "9999-12-31", "2026-01-31T25:00", "\x00"],
)
def test_what_is_no_date_is_said_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="Invalid 'to' date format"):
        Period.of("", text)
    if text != "9999-12-31":
        with pytest.raises(ValueError, match="Invalid 'from' date format"):
            Period.of(text, "")
