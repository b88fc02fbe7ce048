"""The file by which `serve()` finds a standalone dashboard: private, locked while it runs, believed only then."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from getpatter import MetricsStore
from getpatter.dashboard.ingest import ingest_route
from getpatter.dashboard.notice import INGEST_PATH, Address, Beacon, default_path, find
from getpatter.models import CallMetrics, TurnMetrics


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "patter" / "dashboard.json"


def test_it_is_found_while_it_runs_and_not_afterwards(path: Path) -> None:
    assert find(path) is None
    beacon = Beacon(path)
    assert beacon.light(8123)
    assert find(path) == Address(8123, beacon.token)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    beacon.put_out()
    beacon.put_out()
    assert not path.exists()


def test_the_second_one_leaves_the_first_its_file(path: Path) -> None:
    first, second = Beacon(path), Beacon(path)
    assert first.light(1)
    assert not second.light(2)
    second.put_out()
    assert find(path) == Address(1, first.token)
    first.put_out()
    assert second.light(2)
    assert find(path) == Address(2, second.token)
    second.put_out()


def test_a_file_that_nobody_holds_leads_nowhere(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps({"port": 8000, "token": "x"}))
    path.chmod(0o600)
    assert find(path) is None, "its dashboard was killed; somebody else may have the port"


def test_a_file_that_others_can_read_is_not_believed(path: Path) -> None:
    beacon = Beacon(path)
    beacon.light(8123)
    path.chmod(0o644)
    assert find(path) is None
    beacon.put_out()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"port": 8000}', '{"port": "8000", "token": "x"}', '{"port": 0, "token": "x"}']
)  # fmt: skip
def test_rubbish_is_nobody(path: Path, text: str) -> None:
    beacon = Beacon(path)
    beacon.light(8123)
    path.write_text(text)
    assert find(path) is None
    beacon.put_out()


def test_it_is_in_the_users_own_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_path().name == "dashboard.json"


# ---------------------------------------------------------------------------------------- ingest


def client(store: MetricsStore, token: str = "secret") -> httpx.AsyncClient:
    app = Starlette(routes=[ingest_route(store, token)])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


def record(**more: object) -> dict[str, object]:
    return {"call_id": "CA1", "caller": "+15550009876", "started_at": 5.0} | more


async def test_a_call_of_another_process_appears_and_ends() -> None:
    store = MetricsStore()
    metrics = CallMetrics("CA1", 4.0, (TurnMetrics(0, "hi", "hello"),)).to_dict()
    lines = [{"role": "user", "text": "hi", "turn_index": 0}]
    async with client(store) as sender:
        sender.headers["authorization"] = "Bearer secret"
        answer = await sender.post(INGEST_PATH, json={"type": "call_start", "data": record()})
        assert answer.status_code == 204
        assert [call["status"] for call in store.get_active()] == ["in-progress"]
        over = record(
            ended_at=9.0, metrics=metrics, transcript=lines, reason="x", status="completed"
        )
        await sender.post(INGEST_PATH, json={"type": "call_end", "data": over})
    call = store.get_call("CA1")
    assert call is not None
    assert (call["status"], call["started_at"], call["duration_seconds"]) == ("completed", 5.0, 4.0)
    assert call["transcript"] == lines
    assert [turn["agent_text"] for turn in call["turns"]] == ["hello"]  # type: ignore[attr-defined] # JSON


@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer other", "Basic secret", "Bearer sécret"])
async def test_without_its_token_nothing_is_taken(given: str) -> None:
    store = MetricsStore()
    async with client(store) as sender:
        news = {"type": "call_start", "data": record()}
        headers = {b"authorization": given.encode("latin-1")}
        answer = await sender.post(INGEST_PATH, json=news, headers=headers)
    assert answer.status_code == 401
    assert store.call_count == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"type": "call_start"}', b'{"type": "other", "data": {"call_id": "1"}}',
     b'{"type": "call_start", "data": {"call_id": 1}}', b'{"type": [], "data": {"call_id": "1"}}'],
)  # fmt: skip
async def test_news_that_are_none_are_refused(body: bytes) -> None:
    store = MetricsStore()
    async with client(store) as sender:
        headers = {"authorization": "Bearer secret"}
        answer = await sender.post(INGEST_PATH, content=body, headers=headers)
    assert answer.status_code == 400
    assert store.call_count == 0
