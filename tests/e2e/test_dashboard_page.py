"""The page in a real browser: a call appears and grows, a cut of the line loses nothing, markup stays text.

Needs a Chromium, which `pip` cannot install: without one on the `PATH` these are skipped. It is driven by its own
protocol, https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect

from getpatter import MetricsStore, mount_dashboard
from getpatter.models import CallMetrics, LatencyBreakdown, TurnMetrics
from tests.e2e.test_phone import free_port

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium on this machine")

EVIL = "<img src=x onerror=\"document.title='owned'\">"


class Tab:
    """A tab of the browser."""

    def __init__(self, wire: ClientConnection) -> None:
        self._wire = wire
        self._numbers = count(1)
        self.complaints: list[str] = []

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._wire.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(await self._wire.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                answer: dict[str, Any] = message["result"]
                return answer
            if message.get("method") in {"Runtime.exceptionThrown", "Log.entryAdded"}:
                self.complaints.append(json.dumps(message["params"]))

    async def value(self, script: str) -> Any:
        answer = await self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, script: str, wanted: object = True) -> None:
        found: object = None
        try:
            async with asyncio.timeout(15):
                while (found := await self.value(script)) != wanted:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"{script} is {found!r}, not {wanted!r}; {self.complaints}")


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Tab]:
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={folder}", "--remote-debugging-port=0", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        where = folder / "DevToolsActivePort"
        async with asyncio.timeout(30):
            while not (where.exists() and where.read_text()):
                await asyncio.sleep(0.05)
        port = where.read_text().split()[0]
        async with httpx.AsyncClient(trust_env=False) as client:
            tabs = (await client.get(f"http://127.0.0.1:{port}/json")).json()
        url = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        async with connect(url, max_size=None, proxy=None) as wire:
            tab = Tab(wire)
            await tab.ask("Runtime.enable")
            await tab.ask("Log.enable")
            yield tab
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def served(store: MetricsStore, port: int) -> AsyncIterator[None]:
    app = Starlette()
    mount_dashboard(app, store)
    server = uvicorn.Server(
        uvicorn.Config(
            app, port=port, ws="none", lifespan="off", log_config=None, timeout_graceful_shutdown=1
        )
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.02)
        try:
            yield
        finally:
            server.should_exit = True


def say(store: MetricsStore, text: str, role: str = "user") -> None:
    store.record_transcript_line({"call_id": "CA1", "role": role, "text": text, "turn_index": 0})


LINES = "document.querySelectorAll('#live .transcript li').length"
CONNECTION = "document.getElementById('connection')?.textContent"


EVENT = {"call_id": "CA1", "caller": EVIL, "callee": "+15550001234", "direction": "inbound"}


async def test_a_live_call_grows_and_a_cut_loses_nothing(tmp_path: Path) -> None:
    store, port = MetricsStore(), free_port()
    async with browser(tmp_path / "profile") as tab:
        async with served(store, port):
            await tab.ask("Page.navigate", url=f"http://127.0.0.1:{port}/dashboard")
            await tab.until(CONNECTION, "Live")
            store.record_call_start({**EVENT, "started_at": 1_767_225_600.0})
            await tab.until("document.querySelectorAll('#live > li').length", 1)
            say(store, "Welcome.", "assistant")
            await tab.until(LINES, 1)
            say(store, EVIL)
            await tab.until(LINES, 2)
        await tab.until(CONNECTION, "Reconnecting")
        say(store, "while nobody listened")
        async with served(store, port):
            await tab.until(CONNECTION, "Live")
            await tab.until(LINES, 3)
            # Each is there once, in order, as it was said.
            words = (
                "[...document.querySelectorAll('#live .transcript li')].map(e => e.lastChild.data)"
            )
            assert await tab.value(words) == ["Welcome.", EVIL, "while nobody listened"]
            assert await tab.value("document.querySelectorAll('img').length") == 0
            assert await tab.value("document.title") == "Calls - getpatter"


async def test_a_call_that_is_over_is_looked_at_and_deleted(tmp_path: Path) -> None:
    store, port = MetricsStore(), free_port()
    turn = TurnMetrics(0, EVIL, "Hm.", LatencyBreakdown(total_ms=300.0, llm_ms=200.0))
    async with browser(tmp_path / "profile") as tab, served(store, port):
        await tab.ask("Page.navigate", url=f"http://127.0.0.1:{port}/dashboard")
        await tab.until(CONNECTION, "Live")
        store.record_call_start({**EVENT, "started_at": 1_767_225_600.0})
        await tab.until("document.querySelectorAll('#live > li').length", 1)
        store.record_turn({"call_id": "CA1", "turn": turn})
        metrics = CallMetrics("CA1", 61.0, (turn,))
        store.record_call_end({**EVENT, "ended_at": 1_767_225_661.0, "metrics": metrics})
        await tab.until("document.querySelectorAll('#live > li').length", 0)
        row = "document.querySelector('#history tr').innerText"
        await tab.until(f"{row}.includes('completed') && {row}.includes('1:01')")
        assert EVIL in await tab.value(row)
        await tab.value("document.querySelector('#history .open').click()")
        bar = "[...document.querySelectorAll('#call-turns .bar span')].map(e => parseInt(e.style.width))"
        await tab.until(bar, [66, 33])
        await tab.value("document.querySelector('#call form button').click()")
        await tab.value("document.querySelector('#history input').click()")
        await tab.value("document.getElementById('delete').click()")
        await tab.value("document.querySelector('#sure .danger').click()")
        await tab.until("document.querySelectorAll('#history tr').length", 0)
        assert store.is_deleted("CA1")
        assert await tab.value("document.title") == "Calls - getpatter"
        assert not tab.complaints, "nothing was refused by the policy, and no script has failed"


async def test_a_webhook_that_is_not_set_is_an_alert(tmp_path: Path) -> None:
    store, port = MetricsStore(), free_port()
    store.webhook_error = "<b>403</b>"
    async with browser(tmp_path / "profile") as tab, served(store, port):
        await tab.ask("Page.navigate", url=f"http://127.0.0.1:{port}/dashboard")
        await tab.until("document.getElementById('problem')?.innerText.includes('<b>403</b>')")
        store.webhook_error = ""
        store.record_call_start({"call_id": "CA1", "started_at": 5.0})
        await tab.until("document.getElementById('problem').hidden")
