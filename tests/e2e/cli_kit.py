"""The command line as a person uses it: a process, its output, its status."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SECRETS: Final = ("KEY", "TOKEN", "SID", "ID", "SECRET", "BASE_URL", "PHONE_NUMBER", "WEBHOOK_URL")
_WITHIN_S: Final = 50.0


@dataclass(frozen=True)
class Ended:
    """A process that is over."""

    status: int
    out: str
    err: str

    def problem(self, status: int) -> str:
        """Its one line on stderr."""
        assert self.status == status, self
        assert self.err.startswith("getpatter: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err


def settings_but_ours() -> dict[str, str]:
    """The environment without anything that a command would read."""
    return {name: value for name, value in os.environ.items() if not name.endswith(_SECRETS)}


async def getpatter(
    *arguments: str, folder: Path, typed: str = "", settings: dict[str, str] | None = None
) -> Ended:
    """Run `getpatter` in `folder`, with no setting but those given, and with `typed` as its input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "getpatter",
        *arguments,
        cwd=folder,
        env={**settings_but_ours(), **(settings or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_WITHIN_S):
            out, err = await process.communicate(typed.encode())
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())
