"""The history of calls on disk, as the dashboard reads and removes it; `observability/call_log.py` writes it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from getpatter.observability.call_log import make_private, read_lines, safe_name, write_json

logger = logging.getLogger(__name__)

Record = dict[str, object]

ACTIVE: Final = frozenset({"initiated", "ringing", "in-progress"})
"""The states of a call that is not over."""
DELETED_FILE: Final = ".deleted_call_ids.json"
_UNREADABLE: Final = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)
_MEASURED: Final = ("latency", "stt_audio_seconds", "tts_characters", "interrupted", "waterfall")


# --------------------------------------------------------------------------------------- reading


def newest_calls(root: Path) -> Iterator[Record]:
    """Records of the persisted calls, newest first. What cannot be read is passed over."""
    for day in _days(root):
        found = [record for folder in _folders(day) if (record := _outline(folder)) is not None]
        found.sort(key=_began, reverse=True)
        yield from found


def completed(record: Record) -> Record:
    """The same record with its transcript and turns, from the folder that `newest_calls` found it in."""
    folder = record.pop("_folder")
    assert isinstance(folder, Path), "put there by newest_calls"
    lines = read_lines(folder / "transcript.jsonl")
    record["transcript"] = [
        {key: line.get(key) for key in ("role", "text", "turn_index")} for line in lines
    ]
    turns = _turns(lines)
    record["turns"] = turns
    waits = [wait for turn in turns if (wait := _wait(turn)) > 0]
    metrics = record["metrics"]
    assert isinstance(metrics, dict), "put there by newest_calls"
    metrics["latency_avg"] = {"total_ms": sum(waits) / len(waits) if waits else 0.0}
    return record


def read_deleted(root: Path) -> set[str]:
    """The calls that were deleted from this root."""
    try:
        found = json.loads((root / DELETED_FILE).read_bytes())
    except (OSError, ValueError):
        return set()
    return {str(each) for each in found} if isinstance(found, list) else set()


def _days(root: Path) -> Iterator[Path]:
    """Directories of days, newest first, without listing the days that nobody asks for."""
    for year in _newest_first(root / "calls", 4):
        for month in _newest_first(year, 2):
            yield from _newest_first(month, 2)


def _newest_first(folder: Path, digits: int) -> list[Path]:
    try:
        found = [
            path
            for path in folder.iterdir()
            if len(path.name) == digits and path.name.isascii() and path.name.isdigit()
        ]
    except OSError:
        return []
    return sorted(found, reverse=True)


def _folders(day: Path) -> list[Path]:
    try:
        return sorted(path for path in day.iterdir() if (path / "metadata.json").is_file())
    except OSError:
        return []


def _outline(folder: Path) -> Record | None:
    """What `metadata.json` says."""
    try:
        meta = json.loads((folder / "metadata.json").read_bytes())
        record: Record = {
            "call_id": str(meta["call_id"]),
            "caller": str(meta.get("caller") or ""),
            "callee": str(meta.get("callee") or ""),
            "direction": str(meta.get("direction") or ""),
            "telephony_provider": str(meta.get("telephony_provider") or ""),
            "provider_mode": str(meta.get("provider_mode") or ""),
            "agent": _mapping(meta.get("agent")),
            "started_at": datetime.fromisoformat(meta["started_at"]).timestamp(),
            "ended_at": _unix(meta.get("ended_at")),
            "status": str(meta.get("status") or "completed"),
            "reason": str(meta.get("reason") or ""),
        }
    except _UNREADABLE as error:
        logger.debug("store.unreadable_record error=%s", type(error).__name__)
        return None
    if record["status"] in ACTIVE or record["ended_at"] is None:
        record |= {"status": "failed", "reason": "process ended"}
    duration = meta.get("duration_ms")
    record["duration_seconds"] = duration / 1000 if isinstance(duration, int | float) else None
    record["metrics"] = _metrics(meta, record)
    record |= {key: meta[key] for key in ("recording", "recording_path") if meta.get(key)}
    record["_folder"] = folder
    return record


def _metrics(meta: Mapping[str, object], record: Record) -> Record:
    latency = _mapping(meta.get("latency"))
    return {
        "cost": _mapping(meta.get("cost")),
        "latency": latency,
        **{
            f"latency_p{rank}": {"total_ms": latency.get(f"p{rank}_ms") or 0.0}
            for rank in (50, 95, 99)
        },
        "provider_mode": record["provider_mode"],
        "duration_seconds": record["duration_seconds"],
    }


def _turns(lines: Iterable[Mapping[str, object]]) -> list[Record]:
    """The turns that the lines of a transcript tell of."""
    turns: dict[int, Record] = {}
    for line in lines:
        number = line.get("turn_index")
        if not isinstance(number, int) or line.get("role") not in {"user", "assistant"}:
            continue
        turn = turns.setdefault(number, {"turn_index": number, "user_text": "", "agent_text": ""})
        turn["user_text" if line["role"] == "user" else "agent_text"] = line.get("text") or ""
        turn |= {key: line[key] for key in _MEASURED if key in line}
    return [turns[number] for number in sorted(turns)]


def _wait(turn: Record) -> float:
    """Milliseconds for which a caller waited: not for a greeting, not for what was cut off."""
    if turn.get("interrupted") or not turn["user_text"]:
        return 0.0
    total = _mapping(turn.get("latency")).get("total_ms")
    return float(total) if isinstance(total, int | float) else 0.0


def _began(record: Record) -> float:
    began = record["started_at"]
    return began if isinstance(began, float) else 0.0


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, Mapping) else {}


def _unix(text: object) -> float | None:
    return datetime.fromisoformat(text).timestamp() if isinstance(text, str) else None


# -------------------------------------------------------------------------------------- removing


def keep_deleted(root: Path, call_ids: Iterable[str]) -> None:
    """Remember that these calls were deleted, besides those that already were."""
    make_private(root)
    write_json(root / DELETED_FILE, sorted(read_deleted(root) | set(call_ids)))


def purge(root: Path | None, record: Mapping[str, object]) -> None:
    """Remove what the disk has of a call: its directory, and a recording that was made elsewhere."""
    recording = record.get("recording_path")
    if isinstance(recording, str) and recording.endswith(".wav"):
        Path(recording).unlink(missing_ok=True)
    if root is None:
        return
    name = safe_name(str(record["call_id"]))
    for folder in (root / "calls").glob(f"[0-9]*/[0-9]*/[0-9]*/{name}"):
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
