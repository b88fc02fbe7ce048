"""Calls as files: CSV for a spreadsheet, JSON with everything; and the dates that choose them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec

from getpatter.dashboard.store import cost_of, latency_of
from getpatter.observability.call_log import iso

COLUMNS: Final = (
    "call_id",
    "caller",
    "callee",
    "direction",
    "started_at",
    "ended_at",
    "duration_s",
    "cost_total",
    "cost_stt",
    "cost_tts",
    "cost_llm",
    "cost_telephony",
    "avg_latency_ms",
    "turns_count",
    "provider_mode",
)
_BEGINS_A_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_IS_A_NUMBER: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""Also that of a telephone, in E.164: a plus sign and digits."""
_OFFSET_PLUS: Final = re.compile(r"(?<=\d) (?=\d\d:?\d\d$)")


# ----------------------------------------------------------------------------------------- files


def calls_to_csv(calls: Iterable[Mapping[str, object]]) -> str:
    """Records of calls as CSV (RFC 4180), one line a call. No field is taken for a formula by a spreadsheet."""
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(COLUMNS)
    for call in calls:
        lines.writerow([_harmless(field) for field in _fields(call)])
    return text.getvalue()


def calls_to_json(calls: Iterable[Mapping[str, object]]) -> str:
    """Records of calls as a JSON array, with everything: transcripts, turns, their numbers."""
    return as_json(list(calls)).decode()


def as_json(value: object) -> bytes:
    """JSON of a record, or of many. What JSON has no word for becomes text."""
    return msgspec.json.encode(value, enc_hook=_plain)


def _plain(value: object) -> object:
    to_dict = getattr(value, "to_dict", None)
    return to_dict() if callable(to_dict) else str(value)


def _fields(call: Mapping[str, object]) -> list[object]:
    metrics = call.get("metrics")
    known = metrics if isinstance(metrics, Mapping) else {}
    costs = [cost_of(call, name) for name in ("stt", "tts", "llm", "telephony")]
    turns = call.get("turns")
    return [
        call.get("call_id", ""),
        call.get("caller", ""),
        call.get("callee", ""),
        call.get("direction", ""),
        _instant(call.get("started_at")),
        _instant(call.get("ended_at")),
        _rounded(call.get("duration_seconds"), 3),
        *(_rounded(each, 6) for each in (sum(costs), *costs)),
        _rounded(latency_of(call), 1),
        len(turns) if isinstance(turns, list | tuple) else 0,
        known.get("provider_mode") or call.get("provider_mode", ""),
    ]


def _instant(value: object) -> str:
    if not isinstance(value, int | float):
        return ""
    try:
        return iso(value) or ""
    except (OverflowError, ValueError, OSError):
        return ""


def _rounded(value: object, digits: int) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else ""


def _harmless(value: object) -> str:
    text = "" if value is None else str(value)
    if text.startswith(_BEGINS_A_FORMULA) and _IS_A_NUMBER.fullmatch(text) is None:
        return f"'{text}"
    return text


# ----------------------------------------------------------------------------------------- dates


@dataclass(frozen=True, slots=True)
class Period:
    """Calls that began in `[begins, ends)`, Unix time; `None` leaves a side open."""

    begins: float | None = None
    ends: float | None = None

    @classmethod
    def of(cls, begins: str, ends: str) -> Period:
        """From ISO 8601 dates: a bare one is midnight, UTC, as the first, and the whole day as the last.

        Raises:
            ValueError: one is no date; the message says which.
        """
        return cls(_unix(begins, "from"), _unix(ends, "to"))


def _unix(text: str, name: str) -> float | None:
    text = text.strip()
    if not text:
        return None
    # The plus sign of an offset is a space in a query that nobody has escaped.
    text = _OFFSET_PLUS.sub("+", text) if "T" in text or ":" in text[:19] else text
    try:
        day = _bare_day(text)
        if day is not None:
            return (day + timedelta(days=1) if name == "to" else day).timestamp()
        instant = datetime.fromisoformat(text)
        return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"Invalid '{name}' date format") from error


def _bare_day(text: str) -> datetime | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
