"""`getpatter dashboard` as a process of its own, and `serve()` that tells it of calls."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from getpatter.dashboard import notice
from getpatter.observability.call_log import CallLogger
from getpatter.testing.callers import Polite, babble
from getpatter.testing.twilio import SimulatedTwilio
from tests.e2e.test_dashboard import serving

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its file is found by a POSIX lock")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of platform data of our own, for both processes."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PATTER_LOG_DIR", raising=False)
    monkeypatch.delenv("PATTER_DASHBOARD_NOTIFY", raising=False)
    return tmp_path


@dataclass
class Running:
    process: asyncio.subprocess.Process
    base: str
    said: list[str]

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.base, trust_env=False) as client:
            return await client.get(path)


@asynccontextmanager
async def running(*options: str) -> AsyncIterator[Running]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "getpatter", "dashboard", "--port", "0", *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=None,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        first = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        base = first.split()[1].removesuffix("/dashboard")
        said = [first]
        while "appear when they begin" not in said[-1]:
            said.append((await process.stdout.readline()).decode())
        one = Running(process, base, said)
        while True:
            try:
                assert (await one.get("/health")).status_code == 200
                break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
        yield one
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def misused(*options: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "getpatter", "dashboard", *options, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    return process.returncode, errors.decode()


async def test_calls_of_serve_appear_there_and_serve_needs_no_dashboard() -> None:
    async with running() as shown:
        async with SimulatedTwilio() as twilio, serving(twilio, dashboard=False):
            call = twilio.ring(Polite("a haircut please", voice=babble, gap_ms=300))
            while not (active := (await shown.get("/api/dashboard/active")).json()):
                await asyncio.sleep(0.02)
            assert active[0]["status"] == "in-progress"
            await call.ended()
        (record,) = (await shown.get("/api/dashboard/calls")).json()
        assert record["status"] == "completed"
        assert record["transcript"][0]["text"] == "Welcome."
        assert record["metrics"]["turns"]
        assert (await shown.get("/dashboard")).status_code == 200
        assert (await shown.get("/nothing")).json() == {"detail": "Not Found"}


@pytest.mark.parametrize("word", ["0", "False", "no", "OFF"])
async def test_it_is_not_told_when_that_is_not_wanted(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATTER_DASHBOARD_NOTIFY", word)
    async with running() as shown:
        async with SimulatedTwilio() as twilio, serving(twilio):
            await twilio.ring(Polite(voice=babble, gap_ms=300)).ended()
        assert (await shown.get("/api/dashboard/calls")).json() == []


async def test_history_from_disk_and_a_clean_end(tmp_path: Path) -> None:
    log = CallLogger(tmp_path / "calls-root")
    log.log_call_start("CA1", started_at=1_767_225_600.0, caller="+15550009876")
    log.log_call_end("CA1", ended_at=1_767_225_700.0)
    await asyncio.to_thread(log.close)
    async with running("--root", str(tmp_path / "calls-root")) as shown:
        assert [call["call_id"] for call in (await shown.get("/api/v1/calls")).json()["data"]] == [
            "CA1"
        ]
        assert notice.find() is not None
        async with (
            httpx.AsyncClient(base_url=shown.base, trust_env=False) as client,
            client.stream("GET", "/api/dashboard/events") as watching,
        ):
            shown.process.send_signal(signal.SIGINT)
            assert [line async for line in watching.aiter_lines()], "ended, not cut off"
        assert await asyncio.wait_for(shown.process.wait(), 10) == 130
    assert notice.find() is None
    assert not notice.default_path().exists()


async def test_one_that_was_killed_is_not_looked_for_at_its_port() -> None:
    async with running() as shown:
        port = int(shown.base.rpartition(":")[2])
        shown.process.kill()
        await shown.process.wait()
    assert notice.default_path().exists()
    asked: list[bytes] = []

    async def foreign(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(foreign, "127.0.0.1", port)
    async with server, SimulatedTwilio() as twilio, serving(twilio):
        await twilio.ring(Polite(voice=babble, gap_ms=300)).ended()
    assert asked == []


async def test_with_a_token_and_without_one() -> None:
    async with running("--token", "open sesame", "--host", "0.0.0.0") as shown:
        shown.base = shown.base.replace("0.0.0.0", "127.0.0.1")
        assert (await shown.get("/api/dashboard/calls")).status_code == 401
        answer = await shown.get("/dashboard?token=open%20sesame")
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    status, errors = await misused("--host", "0.0.0.0")
    assert status == 2
    assert "--token" in errors
    assert (await misused("--port", "70000"))[0] == 2
