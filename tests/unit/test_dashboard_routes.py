"""Routes under `/api/dashboard` and `/api/v1`, mounted in an application: answers, limits, refusals, access."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from getpatter import MetricsStore, mount_api, mount_dashboard
from getpatter.models import CallMetrics, CostBreakdown, LatencyBreakdown, TurnMetrics

DAY = 86_400.0
JANUARY = 1_767_225_600.0


def filled() -> MetricsStore:
    """CA0 ... CA4, a day each from the first of January 2026 on, and CA5, which is running."""
    store = MetricsStore()
    for index in range(6):
        began = JANUARY + index * DAY
        event = {
            "call_id": f"CA{index}",
            "caller": f"+1555000{index:04d}",
            "callee": "+15550001234",
            "direction": "outbound" if index % 2 else "inbound",
            "telephony_provider": "twilio",
            "started_at": began,
        }
        store.record_call_start(event)
        words = {"call_id": f"CA{index}", "role": "user", "turn_index": 0}
        store.record_transcript_line({**words, "text": f"<b>Pizza</b> number {index}"})
        if index == 5:
            continue
        turn = TurnMetrics(0, "pizza", "yes", LatencyBreakdown(total_ms=800.0))
        store.record_turn({"call_id": f"CA{index}", "turn": turn})
        metrics = CallMetrics(
            f"CA{index}",
            duration_seconds=60.0,
            turns=(turn,),
            cost=CostBreakdown(stt=0.01, llm=0.02, telephony=0.03),
            latency_avg=LatencyBreakdown(total_ms=800.0),
        )
        over = {"ended_at": began + 60, "metrics": metrics, "reason": "caller_hangup"}
        store.record_call_end({**event, **over})
    return store


def client_of(app: Starlette, peer: str = "127.0.0.1", **headers: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=(peer, 50_000))
    base = "http://127.0.0.1:8000" if peer == "127.0.0.1" else "https://shop.example"
    return httpx.AsyncClient(transport=transport, base_url=base, headers=headers)


@pytest.fixture
def store() -> MetricsStore:
    return filled()


@pytest.fixture
async def client(store: MetricsStore) -> AsyncIterator[httpx.AsyncClient]:
    async def home(_request: object) -> PlainTextResponse:
        return PlainTextResponse("the shop")

    app = Starlette(routes=[Route("/", home)])
    mount_dashboard(app, store)
    mount_api(app, store)
    async with client_of(app) as one:
        yield one


def ids(calls: list[dict[str, Any]]) -> list[str]:
    return [call["call_id"] for call in calls]


# --------------------------------------------------------------------------------------- reading


async def test_calls_come_newest_first_in_pages(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/dashboard/calls", params={"limit": 2, "offset": 1})
    assert (answer.status_code, ids(answer.json())) == (200, ["CA4", "CA3"])
    assert answer.headers["x-total-count"] == "6"
    answer = await client.get("/api/v1/calls", params={"limit": 2, "offset": 4})
    assert ids(answer.json()["data"]) == ["CA1", "CA0"]
    assert answer.json()["pagination"] == {"limit": 2, "offset": 4, "count": 2, "total": 6}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "limit=", "offset=-1", "offset=1e3"]
)
@pytest.mark.parametrize("path", ["/api/dashboard/calls", "/api/v1/calls"])
async def test_odd_pages_are_refused(client: httpx.AsyncClient, path: str, query: str) -> None:
    answer = await client.get(f"{path}?{query}")
    assert answer.status_code == 422
    assert query.partition("=")[0] in answer.json()["error"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"status": "in-progress"}, ["CA5"]),
        ({"direction": "outbound"}, ["CA5", "CA3", "CA1"]),
        ({"q": "PIZZA</b> number 2"}, ["CA2"]),
        ({"q": "0000003"}, ["CA3"]),
        ({"q": "nothing of this"}, []),
        ({"from": "2026-01-04"}, ["CA5", "CA4", "CA3"]),
        ({"to": "2026-01-02"}, ["CA1", "CA0"]),
        ({"to": "2026-01-02T00:00:00Z"}, ["CA0"]),
        ({"from": "2026-01-02", "to": "2026-01-04", "direction": "inbound"}, ["CA2"]),
    ],
)
async def test_calls_can_be_chosen(
    client: httpx.AsyncClient, query: dict[str, str], found: list[str]
) -> None:
    answer = await client.get("/api/dashboard/calls", params=query)
    assert ids(answer.json()) == found
    assert answer.headers["x-total-count"] == str(len(found))


async def test_one_call_running_or_over(client: httpx.AsyncClient) -> None:
    running = (await client.get("/api/dashboard/calls/CA5")).json()
    assert (running["status"], running["transcript"][0]["role"]) == ("in-progress", "user")
    over = (await client.get("/api/v1/calls/CA1")).json()["data"]
    documented = {
        "call_id", "caller", "callee", "direction", "telephony_provider", "started_at", "status",
        "turns", "transcript", "ended_at", "duration_seconds", "metrics", "reason",
    }  # fmt: skip
    assert documented <= set(over)
    for path, error in {"dashboard": "Not found", "v1": "Call not found"}.items():
        answer = await client.get(f"/api/{path}/calls/CA9")
        assert (answer.status_code, answer.json()) == (404, {"error": error})


async def test_running_calls_and_totals(client: httpx.AsyncClient) -> None:
    assert ids((await client.get("/api/dashboard/active")).json()) == ["CA5"]
    active = (await client.get("/api/v1/calls/active")).json()
    assert (ids(active["data"]), active["count"]) == (["CA5"], 1)
    totals = (await client.get("/api/dashboard/aggregates")).json()
    assert totals == {
        "total_calls": 6,
        "total_minutes": 5.0,
        "total_cost": pytest.approx(0.3),
        "avg_duration": 60.0,
        "avg_latency_ms": 800.0,
        "cost_breakdown": pytest.approx({"stt": 0.05, "tts": 0, "llm": 0.1, "telephony": 0.15}),
        "active_calls": 1,
    }
    assert (await client.get("/api/v1/analytics/overview")).json() == {"data": totals}


async def test_costs_of_a_period(client: httpx.AsyncClient) -> None:
    answer = await client.get(
        "/api/v1/analytics/costs", params={"from": "2026-01-01", "to": "2026-01-02"}
    )
    assert answer.json()["data"] == {
        "total_cost": pytest.approx(0.12),
        "breakdown": pytest.approx({"stt": 0.02, "tts": 0, "llm": 0.04, "telephony": 0.06}),
        "calls_analyzed": 2,
        "period": {"from": "2026-01-01", "to": "2026-01-02"},
    }
    everything = (await client.get("/api/v1/analytics/costs")).json()["data"]
    assert everything["period"] == {"from": None, "to": None}
    assert everything["calls_analyzed"] == 6


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/analytics/costs",
        "/api/v1/export/csv",
        "/api/dashboard/export/calls",
        "/api/v1/calls",
    ],
)
async def test_what_is_no_date_is_refused(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, params={"from": "soon"})
    assert (answer.status_code, answer.json()) == (400, {"error": "Invalid 'from' date format"})


async def test_exports_are_attachments(client: httpx.AsyncClient) -> None:
    for path in ("/api/dashboard/export/calls", "/api/v1/export/csv"):
        answer = await client.get(path, params={"from": "2026-01-05"})
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert 'filename="patter_calls.csv"' in answer.headers["content-disposition"]
        assert [line.split(",")[0] for line in answer.text.splitlines()] == [
            "call_id",
            "CA5",
            "CA4",
        ]
    for path in ("/api/dashboard/export/calls?format=json", "/api/v1/export/json"):
        answer = await client.get(path)
        assert 'filename="patter_calls.json"' in answer.headers["content-disposition"]
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert answer.json()[1]["metrics"]["turns"][0]["latency"]["total_ms"] == 800.0
    answer = await client.get("/api/dashboard/export/calls", params={"format": "xlsx"})
    assert answer.status_code == 400


# -------------------------------------------------------------------------------------- deleting


async def test_calls_that_are_over_are_deleted_and_running_ones_are_not(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.delete("/api/dashboard/calls/CA1")
    assert (answer.status_code, answer.json()) == (200, {"deleted": ["CA1"], "count": 1})
    assert (await client.delete("/api/dashboard/calls/CA1")).status_code == 404
    assert (await client.delete("/api/dashboard/calls/CA5")).json() == {"deleted": [], "count": 0}
    wanted = {"call_ids": ["CA0", "CA5", "CA9", "CA2", "CA0"]}
    answer = await client.post("/api/dashboard/calls/delete", json=wanted)
    assert answer.json() == {"deleted": ["CA0", "CA2"], "count": 2}
    totals = (await client.get("/api/dashboard/aggregates")).json()
    assert totals["total_calls"] == 3
    assert (await client.get("/api/v1/calls")).json()["pagination"]["total"] == 3


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"call_ids": "CA1"}', b'{"call_ids": [1]}', b'{"call_ids": []}',
     b'\xff', b"[" * 100_000, json.dumps({"call_ids": ["x"] * 1001}).encode()],
)  # fmt: skip
async def test_a_bad_list_deletes_nothing(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/api/dashboard/calls/delete", content=body)
    assert answer.status_code == 400
    assert (await client.get("/api/v1/calls")).json()["pagination"]["total"] == 6


async def test_a_long_body_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/dashboard/calls/delete", content=b" " * 300_000)
    assert answer.status_code == 413


async def test_a_page_of_another_site_deletes_nothing(client: httpx.AsyncClient) -> None:
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = await client.delete("/api/dashboard/calls/CA1", headers=headers)
        assert answer.status_code == 401
        assert (await client.get("/api/dashboard/calls/CA1")).status_code == 200


# ---------------------------------------------------------------------------------------- access

EVERYTHING = (
    "/dashboard", "/dashboard/page.js", "/api/dashboard/calls", "/api/dashboard/calls/CA1",
    "/api/dashboard/active", "/api/dashboard/aggregates", "/api/dashboard/events",
    "/api/dashboard/export/calls", "/api/v1/calls", "/api/v1/calls/active", "/api/v1/calls/CA1",
    "/api/v1/analytics/overview", "/api/v1/analytics/costs", "/api/v1/export/csv",
    "/api/v1/export/json", "/api/v1/events",
)  # fmt: skip


@pytest.mark.parametrize("path", EVERYTHING)
async def test_a_stranger_sees_nothing(store: MetricsStore, path: str) -> None:
    app = Starlette()
    mount_dashboard(app, store)
    mount_api(app, store)
    async with client_of(app, "203.0.113.9") as stranger:
        answer = await stranger.get(path)
    assert (answer.status_code, answer.json()) == (401, {"detail": "Unauthorized"})


async def test_with_a_token_this_machine_needs_it_as_well(store: MetricsStore) -> None:
    app = Starlette()
    mount_dashboard(app, store, token="open sesame")
    mount_api(app, store, token="open sesame")
    async with client_of(app) as here:
        assert (await here.get("/api/dashboard/calls")).status_code == 401
        assert (await here.get("/api/dashboard/calls?token=open%20sesame")).status_code == 401
        known = {"authorization": "Bearer open sesame"}
        for path in ("/api/dashboard/calls", "/api/v1/calls"):
            assert (await here.get(path, headers=known)).status_code == 200


async def test_another_methods_answer_is_405_and_another_path_is_404(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.post("/api/v1/calls")).status_code == 405
    assert (await client.put("/api/dashboard/calls/CA1")).status_code == 405
    assert (await client.get("/api/v1/calls/CA1/more")).status_code == 404
    head = await client.head("/api/dashboard/events")
    assert (head.status_code, head.content) == (200, b"")


async def test_answers_are_not_kept_and_not_guessed_at(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/calls")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


async def test_the_application_keeps_its_own_home(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).text == "the shop"


def test_what_cannot_be_mounted_says_so() -> None:
    with pytest.raises(TypeError, match="get_calls"):
        mount_api(Starlette(), object())  # type: ignore[arg-type] # the point
    with pytest.raises(TypeError, match="Starlette"):
        mount_dashboard(object(), MetricsStore())
