"""Calls on disk: one directory a call, plain files that a person or `jq` can read.

```
<root>/calls/YYYY/MM/DD/<call id>/metadata.json      who, when, how long, what it cost (numbers redacted)
                                  transcript.jsonl   one line per utterance, never redacted
                                  events.jsonl       tools, interruptions, keys, transfers, errors
```

Writing happens in threads, in order per call and file, never on the event loop. `metadata.json` is synced and
replaced as a whole, the others only grow, so `kill -9` loses at most the line being written; readers skip a torn
last line. Lines have a thread of their own: they must not queue behind a disk that syncs. Directories
are 0700 and files 0600, whatever the umask. A disk that is full costs a call its files, never its audio.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import shutil
import tempfile
import threading
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from getpatter import config
from getpatter.types import masked

logger = logging.getLogger(__name__)

SCHEMA_VERSION: Final = "1.0"
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME: Final = 64
_NUMBER: Final = re.compile(r"\+?\d[\d\s().-]{6,}\d")
_DAY: Final = re.compile(r"\d{4}/\d{2}/\d{2}")
_KEY_FILE: Final = ".redaction_key"
_REMEMBERED: Final = 1000
"""Calls that are over and of which something may still become known, the newest."""
_SYNCING: Final = 4
"""Threads that write metadata; each call belongs to one of them."""


def iso(unix: float | None) -> str | None:
    """ISO 8601 in UTC with milliseconds, as in all files."""
    if unix is None:
        return None
    return (
        datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def safe_name(call_id: str) -> str:
    """A path segment for a call id, at most 64 characters; two ids never share one."""
    plain = _UNSAFE.sub("_", call_id)
    if plain == call_id and 0 < len(plain) <= _LONGEST_NAME:
        return plain
    digest = hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{plain[: _LONGEST_NAME - 17]}-{digest}"


def call_folder(root: Path, call_id: str, started_at: float) -> Path:
    """The directory of a call that began at this Unix time."""
    day = datetime.fromtimestamp(started_at, UTC).strftime("%Y/%m/%d")
    return root / "calls" / day / safe_name(call_id)


class CallLogger:
    """Writes calls below `root`. Every method returns at once; `flush` waits for the disk."""

    def __init__(self, root: str | os.PathLike[str] | None) -> None:
        """Write below `root`; `None` writes nothing and makes no directory."""
        self.root = Path(root).expanduser() if root is not None else None
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="getpatter-log")
        self._syncing = [
            ThreadPoolExecutor(max_workers=1, thread_name_prefix="getpatter-log-sync")
            for _ in range(_SYNCING)
        ]
        self._folders: dict[str, Path] = {}
        self._records: dict[str, dict[str, object]] = {}
        self._over: OrderedDict[str, Path] = OrderedDict()
        self._failed: deque[str] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()

    @property
    def enabled(self) -> bool:
        """Whether anything is written."""
        return self.root is not None

    # --------------------------------------------------------------------------------------- writing

    def log_call_start(  # noqa: PLR0913 - what the file says
        self,
        call_id: str,
        *,
        started_at: float,
        caller: str = "",
        callee: str = "",
        direction: str = "",
        telephony_provider: str = "",
        provider_mode: str = "",
        agent: Mapping[str, object] | None = None,
        trace_id: str = "",
    ) -> None:
        """Begin the directory of a call. `started_at`: Unix seconds."""
        if self.root is None:
            return
        self._folders[call_id] = call_folder(self.root, call_id, started_at)
        self._records[call_id] = {
            "schema_version": SCHEMA_VERSION,
            "call_id": call_id,
            "trace_id": trace_id,
            "started_at": iso(started_at),
            "ended_at": None,
            "duration_ms": None,
            "status": "in-progress",
            "caller": caller,
            "callee": callee,
            "direction": direction,
            "telephony_provider": telephony_provider,
            "provider_mode": provider_mode,
            "agent": dict(agent or {}),
            "turns": 0,
            "cost": {"total": 0.0, "stt": 0.0, "tts": 0.0, "llm": 0.0, "telephony": 0.0},
            "latency": {"p50_ms": 0.0, "p95_ms": 0.0, "p99_ms": 0.0},
            "error": None,
        }
        self._do_synced(call_id, self._write_metadata, dict(self._records[call_id]))

    def log_line(
        self, call_id: str, *, at: float, turn_index: int, role: str, text: str, **more: object
    ) -> None:
        """One utterance. `more`: `latency`, `cost`, `interrupted` ... of an assistant's line."""
        line = {
            "schema_version": SCHEMA_VERSION,
            "ts": iso(at),
            "turn_index": turn_index,
            "role": role,
            "text": text,
            **more,
        }
        self._do(call_id, self._append, "transcript.jsonl", line)

    def log_turn(self, call_id: str, turn: Mapping[str, object], *, at: float) -> None:
        """A whole turn, as `TurnMetrics.to_dict()` gives it: the caller's words, then the agent's."""
        index = turn.get("turn_index", 0)
        number = index if isinstance(index, int) else 0
        if turn.get("user_text"):
            self.log_line(
                call_id, at=at, turn_index=number, role="user", text=str(turn["user_text"])
            )
        if turn.get("agent_text"):
            self.log_line(
                call_id,
                at=at,
                turn_index=number,
                role="assistant",
                text=str(turn["agent_text"]),
                **{
                    key: turn[key]
                    for key in ("latency", "stt_audio_seconds", "tts_characters", "interrupted")
                    if key in turn
                },
            )

    def log_event(self, call_id: str, kind: str, data: Mapping[str, object], *, at: float) -> None:
        """Something that happened: `tool_call`, `tool_result`, `barge_in`, `dtmf`, `transfer`, `error` ..."""
        line = {"schema_version": SCHEMA_VERSION, "ts": iso(at), "type": kind, "data": dict(data)}
        self._do(call_id, self._append_redacted, "events.jsonl", line)

    def log_call_end(
        self,
        call_id: str,
        *,
        ended_at: float,
        status: str = "completed",
        reason: str = "",
        metrics: Mapping[str, object] | None = None,
        error: str | None = None,
        **more: object,
    ) -> None:
        """The call is over: its totals. `metrics` as `CallMetrics.to_dict()` gives them."""
        record = self._records.pop(call_id, None)
        if record is None:
            return
        record |= {"ended_at": iso(ended_at), "status": status, "reason": reason, "error": error}
        record |= _totals(metrics or {}) | more
        self._do_synced(call_id, self._write_metadata, record)
        folder = self._folders.pop(call_id, None)
        if folder is not None:
            self._over[call_id] = folder
            if len(self._over) > _REMEMBERED:
                self._over.popitem(last=False)

    def amend(self, call_id: str, **facts: object) -> None:
        """Something became known of a call of this process: put it into its `metadata.json`.

        Of `cost`, only what the file has is replaced. For a call that is over the file is read and written again.
        """
        record = self._records.get(call_id)
        if record is not None:
            record |= _amended(record, facts)
            self._do_synced(call_id, self._write_metadata, dict(record))
        elif call_id in self._over:
            folder = self._over[call_id]
            self._syncing_of(call_id).submit(self._amend_finished, call_id, folder, facts)

    def _amend_finished(self, call_id: str, folder: Path, facts: Mapping[str, object]) -> None:
        if folder.is_dir():  # otherwise its call was deleted, and must not come back
            self._guarded(call_id, self._amend, folder, facts)

    def _amend(self, folder: Path, facts: Mapping[str, object]) -> None:
        path = folder / "metadata.json"
        try:
            record = json.loads(path.read_bytes())
        except ValueError:
            return
        if isinstance(record, dict):
            write_json(path, {**record, **_amended(record, facts)})

    def flush(self) -> None:
        """Wait until everything so far is on disk. Blocks: not for the event loop."""
        for thread in (self._writer, *self._syncing):
            thread.submit(lambda: None).result()

    def close(self) -> None:
        """Write what is left, then end the thread. Blocks."""
        for thread in (self._writer, *self._syncing):
            thread.shutdown(wait=True)

    # ------------------------------------------------------------------------ in the writers' threads

    def _do(self, call_id: str, work: Callable[..., None], *what: object) -> None:
        folder = self._folders.get(call_id)
        if folder is not None:
            self._writer.submit(self._guarded, call_id, work, folder, *what)

    def _do_synced(self, call_id: str, work: Callable[..., None], *what: object) -> None:
        folder = self._folders.get(call_id)
        if folder is not None:
            self._syncing_of(call_id).submit(self._guarded, call_id, work, folder, *what)

    def _syncing_of(self, call_id: str) -> ThreadPoolExecutor:
        return self._syncing[zlib.crc32(call_id.encode("utf-8", "surrogatepass")) % _SYNCING]

    def _guarded(
        self, call_id: str, work: Callable[..., None], folder: Path, *what: object
    ) -> None:
        try:
            self._make_folder(folder)
            work(folder, *what)
        except OSError as error:
            with self._lock:
                is_known = call_id in self._failed
                if not is_known:
                    self._failed.append(call_id)
            if not is_known:
                logger.warning("call_log.not_written error=%s", error.strerror)

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            make_private(folder)
            if self.root is not None:
                self.root.chmod(0o700)

    def _write_metadata(self, folder: Path, record: Mapping[str, object]) -> None:
        redacted = dict(record)
        for key in ("caller", "callee"):
            redacted[key] = self._redacted(str(record.get(key, "")))
        write_json(folder / "metadata.json", redacted)

    def _append(self, folder: Path, name: str, line: Mapping[str, object]) -> None:
        append_line(folder / name, line)

    def _append_redacted(self, folder: Path, name: str, line: Mapping[str, object]) -> None:
        append_line(folder / name, self._without_numbers(line))

    def _without_numbers(self, value: object) -> object:
        if isinstance(value, str):
            return _NUMBER.sub(lambda found: self._redacted(found.group()), value)
        if isinstance(value, Mapping):
            # Instants look like numbers to the pattern, and are none.
            return {k: v if k == "ts" else self._without_numbers(v) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self._without_numbers(each) for each in value]
        return value

    def _redacted(self, number: str) -> str:
        if not number:
            return number
        match config.phone_redaction():
            case "full":
                return number
            case "hash_only":
                digest = hmac.new(self._key(), number.encode(), hashlib.sha256).hexdigest()
                return f"sha256:{digest[:16]}"
            case _:
                return masked(number)

    def _key(self) -> bytes:
        """Random, kept in the root: equal numbers stay comparable inside one root and nowhere else."""
        assert self.root is not None, "only a logger that writes redacts"
        path = self.root / _KEY_FILE
        if not path.exists():
            write_private(path, secrets.token_hex(32).encode())
        return path.read_bytes()


def _amended(record: Mapping[str, object], facts: Mapping[str, object]) -> dict[str, object]:
    known, cost = record.get("cost"), facts.get("cost")
    if isinstance(known, Mapping) and isinstance(cost, Mapping):
        return {**facts, "cost": {key: cost.get(key, value) for key, value in known.items()}}
    return dict(facts)


def _totals(metrics: Mapping[str, object]) -> dict[str, object]:
    def part(name: str) -> Mapping[str, object]:
        value = metrics.get(name)
        return value if isinstance(value, Mapping) else {}

    cost, turns = part("cost"), metrics.get("turns")
    duration = metrics.get("duration_seconds")
    return {
        "duration_ms": round(duration * 1000) if isinstance(duration, int | float) else None,
        "turns": len(turns) if isinstance(turns, list | tuple) else 0,
        "cost": {key: cost.get(key, 0.0) for key in ("total", "stt", "tts", "llm", "telephony")},
        "latency": {
            f"p{rank}_ms": part(f"latency_p{rank}").get("total_ms", 0.0) for rank in (50, 95, 99)
        },
    }


# ------------------------------------------------------------------------------------------- files


def make_private(folder: Path) -> None:
    """Make a directory, and those above it that are missing, of mode 0700."""
    if folder.is_dir():
        return
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        # The umask can only take permissions away, so this is for an odd default.
        path.chmod(0o700)


def write_private(path: Path, data: bytes) -> None:
    """Make a file of mode 0600 with this content."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)


def write_json(path: Path, value: object) -> None:
    """Replace a JSON file as a whole: readers see the old one or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=2)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def append_line(path: Path, value: object) -> None:
    """Add one line to a JSON-lines file, after a torn one on a line of its own."""
    line = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = os.lseek(handle, 0, os.SEEK_END)
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = b"\n" + line
        os.write(handle, line)
    finally:
        os.close(handle)


def read_lines(path: Path) -> list[dict[str, object]]:
    """The readable lines of a JSON-lines file; torn ones are skipped."""
    found: list[dict[str, object]] = []
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return found
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def remove_old_days(root: Path, *, now: float, days: int) -> int:
    """Remove whole days that are older than `days` (0: never); returns how many.

    Only directories of the documented layout are ever touched.
    """
    if days <= 0:
        return 0
    oldest = (datetime.fromtimestamp(now, UTC) - timedelta(days=days)).strftime("%Y/%m/%d")
    removed = 0
    calls = root / "calls"
    for path in sorted(calls.glob("*/*/*")):
        day = path.relative_to(calls).as_posix()
        if _DAY.fullmatch(day) and path.is_dir() and not path.is_symlink() and day < oldest:
            shutil.rmtree(path, ignore_errors=True)
            removed += 1
    return removed
