"""The dashboard of `serve()` over real sockets: a call is seen while it runs, and what may not be seen is not."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from getpatter import Patter
from getpatter.testing.callers import Polite, babble
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.twilio import SimulatedTwilio
from tests.e2e.test_phone import free_port

HOST = "agent.example"


@asynccontextmanager
async def serving(twilio: SimulatedTwilio, **options: Any) -> AsyncIterator[Patter]:
    phone = Patter(
        carrier=twilio.carrier(),
        phone_number=twilio.number,
        webhook_url=HOST,
        persist=options.pop("persist", None),
    )
    port = free_port()
    twilio.server = f"127.0.0.1:{port}"
    agent = phone.agent(
        system_prompt="You are the desk of a clinic.",
        stt=ScriptedSTT(["a haircut <script>"], final_delay=0.1),
        tts=ScriptedTTS(0.02, ms_per_letter=20),
        llm=ScriptedLLM(["Certainly."], first_token_delay=0.05),
        first_message="Welcome.",
    )
    task = asyncio.create_task(phone.serve(agent, port=port, **options))
    try:
        assert await phone.ready == HOST
        yield phone
    finally:
        await phone.disconnect()
        await asyncio.wait_for(task, 10)


def browser(twilio: SimulatedTwilio, **headers: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://{twilio.server}", headers=headers, trust_env=False)


async def events(answer: httpx.Response) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    """(id, event, data) as they arrive."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            if "event" in fields:
                yield fields["id"], fields["event"], json.loads(fields["data"])
            fields = {}


async def test_a_call_is_seen_from_its_start_to_its_end() -> None:
    seen: list[tuple[str, str, dict[str, Any]]] = []
    async with SimulatedTwilio() as twilio, serving(twilio), browser(twilio) as page:
        async with page.stream("GET", "/api/dashboard/events") as answer:
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            call = twilio.ring(Polite("a haircut please", voice=babble, gap_ms=300))
            async for event in events(answer):
                seen.append(event)
                if event[1] == "call_start":
                    (running,) = (await page.get("/api/dashboard/active")).json()
                    assert running["status"] == "in-progress"
                    assert running["agent"]["provider"] == "pipeline"
                if event[1] == "call_end":
                    break
        await call.ended()
        call_id = seen[0][2]["call_id"]
        lines = [data for _, name, data in seen if name == "transcript_line"]
        assert [(line["role"], line["text"]) for line in lines] == [
            ("assistant", "Welcome."),
            ("user", "a haircut <script>"),
            ("assistant", "Certainly."),
        ]
        assert "turn_complete" in [name for _, name, _ in seen]
        record = (await page.get(f"/api/dashboard/calls/{call_id}")).json()
        assert record["status"] == "completed"
        assert [turn["turn_index"] for turn in record["turns"]] == [0, 1]
        assert record["caller"].startswith("+"), "whole numbers in memory"
        # A page that was away from the middle on misses nothing.
        middle = seen[len(seen) // 2][0]
        async with page.stream(
            "GET", "/api/v1/events", headers={"last-event-id": middle}
        ) as answer:
            again: list[str] = []
            async for event in events(answer):
                again.append(event[0])
                if event[1] == "call_end":
                    break
        assert again == [each for each, _, _ in seen[len(seen) // 2 + 1 :]]


async def test_pages_that_watch_are_told_that_it_is_the_end() -> None:
    async with (
        SimulatedTwilio() as twilio,
        serving(twilio) as phone,
        browser(twilio) as page,
        page.stream("GET", "/api/dashboard/events") as answer,
    ):
        await phone.disconnect()
        # One that was cut off, when the last requests had their time, would raise here.
        lines = [line async for line in answer.aiter_lines()]
        assert lines[0].startswith("retry:")


async def test_a_page_that_goes_away_makes_room_for_another() -> None:
    async with SimulatedTwilio() as twilio, serving(twilio), browser(twilio) as page:
        limits = httpx.Limits(max_connections=100)
        base = f"http://{twilio.server}"
        async with httpx.AsyncClient(base_url=base, limits=limits, trust_env=False) as crowd:
            watching = [
                await crowd.send(crowd.build_request("GET", "/api/dashboard/events"), stream=True)
                for _ in range(50)
            ]
            assert {answer.status_code for answer in watching} == {200}
            assert (await page.get("/api/v1/events")).status_code == 503
            for answer in watching:
                await answer.aclose()
        for _ in range(100):
            async with page.stream("GET", "/api/v1/events") as answer:
                if answer.status_code == 200:
                    return
            await asyncio.sleep(0.02)
    pytest.fail("no place was given back")


@pytest.mark.parametrize("has_dashboard", [True, False])
async def test_without_it_nothing_of_it_is_there_and_calls_are_the_same(
    *, has_dashboard: bool
) -> None:
    started: list[dict[str, Any]] = []
    ended: list[dict[str, Any]] = []
    async with (
        SimulatedTwilio() as twilio,
        serving(
            twilio,
            dashboard=has_dashboard,
            on_call_start=started.append,
            on_call_end=ended.append,
        ) as phone,
        browser(twilio) as page,
    ):
        for path in ("/api/dashboard/calls", "/api/v1/calls", "/dashboard", "/"):
            answer = await page.get(path)
            assert answer.status_code == (200 if has_dashboard else 404), path
        assert (await page.get("/health")).status_code == 200
        call = twilio.ring(Polite("a haircut please", voice=babble, gap_ms=300))
        await call.ended()
        while not ended:
            await asyncio.sleep(0.02)
        store = phone.metrics_store
        assert store is not None
    assert {key: type(value) for key, value in started[0].items()} == {
        "call_id": str,
        "caller": str,
        "callee": str,
        "direction": str,
        "telephony_provider": str,
        "custom_params": dict,
    }
    assert (started[0]["direction"], ended[0]["reason"]) == ("inbound", "caller_hangup")


def folders_in(root: Path) -> dict[str, Path]:
    return {path.parent.name: path.parent for path in root.rglob("metadata.json")}


async def test_deleted_for_good_the_files_as_well(tmp_path: Path) -> None:
    async with (
        SimulatedTwilio() as twilio,
        serving(twilio, persist=str(tmp_path), local_recording=True) as phone,
        browser(twilio) as page,
    ):
        for _ in range(2):
            call = twilio.ring(Polite(voice=babble, gap_ms=300))
            await call.ended()
        while (await page.get("/api/dashboard/aggregates")).json()["active_calls"]:
            await asyncio.sleep(0.02)
        newer, older = [call["call_id"] for call in (await page.get("/api/dashboard/calls")).json()]
        folders = folders_in(tmp_path)
        assert set(folders) == {newer, older}
        await page.delete(f"/api/dashboard/calls/{newer}")
        assert folders[newer].is_dir(), "kept, unless it is purged"
        answer = await page.delete(f"/api/dashboard/calls/{older}", params={"purge": "true"})
        assert answer.json() == {"deleted": [older], "count": 1}
        assert not folders[older].exists()
        assert phone.metrics_store is not None
    async with (
        SimulatedTwilio() as twilio,
        serving(twilio, persist=str(tmp_path)),
        browser(twilio) as page,
    ):
        assert (await page.get("/api/dashboard/calls")).json() == [], "deleted stays deleted"


# -------------------------------------------------------------------------------------- the page


async def test_the_page_is_its_own_and_lets_nobody_else_in() -> None:
    async with SimulatedTwilio() as twilio, serving(twilio), browser(twilio) as page:
        for path in ("/", "/dashboard"):
            answer = await page.get(path)
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
            assert "access-control-allow-origin" not in answer.headers
            assert "://" not in answer.text, "everything comes from here"
            assert " on" not in re.sub(r">[^<]*<", "><", answer.text), "no inline handlers"
            files = re.findall(r'(?:src|href)="(dashboard/[^"]+)"', answer.text)
            assert sorted(files) == ["dashboard/page.css", "dashboard/page.js"]
        for name, kind in {
            "page.css": "text/css; charset=utf-8",
            "page.js": "text/javascript; charset=utf-8",
            "view.js": "text/javascript; charset=utf-8",
        }.items():
            answer = await page.get(f"/dashboard/{name}")
            assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
            assert "://" not in answer.text
            for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
                assert way not in answer.text
        assert (await page.get("/dashboard/../phone.py")).status_code == 404
        assert (await page.get("/dashboard/page.html")).status_code == 404


async def test_a_browser_signs_in_once() -> None:
    async with (
        SimulatedTwilio() as twilio,
        serving(twilio, dashboard_token="open sesame") as _,
        browser(twilio) as page,
    ):
        for path in ("/", "/dashboard", "/dashboard/page.js", "/api/dashboard/calls", "/metrics"):
            answer = await page.get(path)
            assert (answer.status_code, answer.json()) == (401, {"detail": "Unauthorized"})
        answer = await page.get("/dashboard", params={"token": "open sesame"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "secure" not in cookie, "this machine is reached by http"
        for path in ("/dashboard", "/dashboard/page.js", "/api/dashboard/calls", "/api/v1/calls"):
            assert (await page.get(path)).status_code == 200
        wanted = {"call_ids": ["CA1"]}
        for origin, status in {"http://127.0.0.1:1": 401, f"http://{twilio.server}": 200}.items():
            answer = await page.post(
                "/api/dashboard/calls/delete", json=wanted, headers={"origin": origin}
            )
            assert answer.status_code == status, "another port is the same site to a browser"
        async with browser(twilio, host=HOST) as public:
            answer = await public.get("/", params={"token": "open sesame"})
            assert "secure" in answer.headers["set-cookie"].lower()


async def test_strangers_and_guessers_are_kept_out() -> None:
    async with SimulatedTwilio() as twilio, serving(twilio), browser(twilio) as page:
        for headers in ({"host": HOST}, {"x-forwarded-for": "203.0.113.9"}, {"cf-ray": "1"}):
            assert (await page.get("/dashboard", headers=headers)).status_code == 401
        guess = {"host": HOST, "authorization": "Bearer guess"}
        answers = [await page.get("/api/v1/calls", headers=guess) for _ in range(11)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429]
