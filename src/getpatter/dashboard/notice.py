"""How `serve()` finds a standalone dashboard of this machine: a file that only this user can read.

```
getpatter dashboard ──writes──► dashboard.json: port, token     locked while it runs, removed when it ends
serve()             ──reads───► POST 127.0.0.1:<port>/api/dashboard/ingest, with that token
```

The lock goes with the process, whatever ends it: a file that was left behind leads nobody to a stranger's port.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from getpatter import config
from getpatter.observability.call_log import make_private

INGEST_PATH: Final = "/api/dashboard/ingest"
_FILE: Final = "dashboard.json"
_HIGHEST_PORT: Final = 65535
_OTHERS: Final = 0o077


def default_path() -> Path:
    """Where the file is: in the platform's directory, whatever `PATTER_LOG_DIR` says."""
    return config.platform_data_dir() / _FILE


@dataclass(frozen=True, slots=True)
class Address:
    """Where a standalone dashboard listens, and what it believes."""

    port: int
    token: str = field(repr=False)


class Beacon:
    """The file of one running dashboard. `light` it when the port is known, `put_out` at the end."""

    def __init__(self, path: Path | None = None) -> None:
        """Nothing is written yet."""
        self.token = secrets.token_urlsafe(32)
        """What whoever brings news must show. Never in a log."""
        self._path = path if path is not None else default_path()
        self._handle = -1

    def light(self, port: int) -> bool:
        """Write the file and hold its lock; False: another dashboard has it, or was just looked for."""
        make_private(self._path.parent)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _locked(handle, is_exclusive=True) or not self._is_still_there(handle):
            os.close(handle)
            return False
        self._path.chmod(0o600)
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps({"port": port, "token": self.token}).encode())
        self._handle = handle
        return True

    def _is_still_there(self, handle: int) -> bool:
        """Whether the file that was opened has not been removed before it was locked."""
        try:
            return os.path.samestat(os.fstat(handle), self._path.stat())
        except OSError:
            return False

    def put_out(self) -> None:
        """Remove the file. Idempotent."""
        if self._handle < 0:
            return
        self._path.unlink(missing_ok=True)
        os.close(self._handle)
        self._handle = -1


def find(path: Path | None = None) -> Address | None:
    """The dashboard that runs on this machine for this user, if there is one."""
    path = path if path is not None else default_path()
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        if not _is_ours(handle) or _locked(handle, is_exclusive=False):
            return None  # somebody else could have written it; or nobody holds it any more
        return _address(os.read(handle, 4096))
    finally:
        os.close(handle)


def _address(text: bytes) -> Address | None:
    try:
        found = json.loads(text)
        port, token = found["port"], found["token"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(port, int) or not isinstance(token, str):
        return None
    return Address(port, token) if 1 <= port <= _HIGHEST_PORT else None


def _is_ours(handle: int) -> bool:
    if sys.platform == "win32":
        return True  # the directory is the user's own
    found = os.fstat(handle)
    is_private = stat.S_ISREG(found.st_mode) and not found.st_mode & _OTHERS
    return is_private and found.st_uid == os.getuid()


def _locked(handle: int, *, is_exclusive: bool) -> bool:
    """Whether the lock could be had. Without locks a writer always has it, and a reader never."""
    if sys.platform == "win32":
        return is_exclusive
    import fcntl  # noqa: PLC0415 - not there on every platform

    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if is_exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
