"""Models that remember: what they are told of calls and callers, and what they are never told."""

from __future__ import annotations

import pickle
from typing import Any, Final

import msgspec
import pytest

from getpatter import HermesLLM, OpenAICompatibleLLM, OpenClawLLM, hash_caller
from getpatter.llm._model import Model, Who

KEY: Final = "made-up-key-0123456789"
NUMBER: Final = "+15550001234"
ASKED: Final = [{"role": "user", "content": "Hello"}]


def compatible(**options: Any) -> OpenAICompatibleLLM:
    return OpenAICompatibleLLM(base_url="http://localhost:1/v1", model="m", **options)


def sent(llm: Model, call_id: str = "CA1", caller: str = NUMBER) -> tuple[dict[str, str], Any]:
    request = llm._request(ASKED, None, Who(call_id, caller))
    assert NUMBER not in str(request.headers)
    assert NUMBER.encode() not in request.body
    return dict(request.headers), msgspec.json.decode(request.body)


def test_a_hash_is_sixteen_digits_and_the_same_for_the_same_person() -> None:
    assert hash_caller(NUMBER) == hash_caller("+1 (555) 000-1234") == hash_caller(NUMBER)
    assert len(hash_caller(NUMBER)) == 16
    int(hash_caller(NUMBER), 16)
    assert hash_caller(NUMBER) != hash_caller("+15550001235")


def test_nothing_is_said_unless_asked_for() -> None:
    headers, body = sent(compatible())
    assert set(headers) == {"content-type", "accept"}
    assert "user" not in body


def test_the_call_in_body_and_header() -> None:
    headers, body = sent(
        compatible(
            session_user_prefix="call-", session_id_header="x-session", session_id_prefix="p-"
        )
    )
    assert body["user"] == "call-CA1"
    assert headers["x-session"] == "p-CA1"


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ({"session_key": "shop"}, "shop"),
        ({"session_key_from": "call_id"}, "CA1"),
        ({"session_key_from": "caller"}, hash_caller(NUMBER)),
        ({"session_key_factory": lambda who: f"shop-{who['call_id']}"}, "shop-CA1"),
        (
            {"session_key_factory": lambda who: f"shop-{who['caller']}"},
            f"shop-{hash_caller(NUMBER)}",
        ),
        (
            {"session_key_factory": lambda who: f"a b\r\n{who['caller'][1:]}"},
            f"a_b__{hash_caller(NUMBER)}",
        ),
    ],
)
def test_where_a_session_key_comes_from(source: dict[str, Any], key: str) -> None:
    headers, _ = sent(compatible(session_key_header="x-key", **source))
    assert headers["x-key"] == key


@pytest.mark.parametrize("caller", ["", "anonymous", "Restricted"])
def test_people_without_a_number_share_no_memory(caller: str) -> None:
    llm = compatible(session_key_header="x-key", session_key_from="caller")
    assert sent(llm, "CA1", caller)[0]["x-key"] == "CA1"
    assert sent(llm, "CA2", caller)[0]["x-key"] == "CA2"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"session_key": "a", "session_key_from": "caller", "session_key_header": "x"}, "exclude"),
        ({"session_key_from": "caller"}, "session_key_header"),
        ({"session_key_from": "number", "session_key_header": "x"}, "number"),
        ({"session_id_header": "x y"}, "header"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compatible(**options)


def test_keys_and_numbers_are_not_shown() -> None:
    llm = compatible(session_key="secret-memory", session_key_header="x-key")
    assert "secret-memory" not in repr(llm)
    assert b"secret-memory" not in pickle.dumps(llm)
    assert NUMBER not in repr(Who("CA1", NUMBER))


def test_hermes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_SERVER_KEY", KEY)
    llm = HermesLLM(session_key_from="caller")
    request = llm._request(ASKED, None, Who("CA1", NUMBER))
    assert request.url == "http://127.0.0.1:8642/v1/chat/completions"
    headers, body = sent(llm)
    assert headers["X-Hermes-Session-Key"] == hash_caller(NUMBER)
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body["model"] == "hermes-agent"
    assert "X-Hermes-Session-Key" not in sent(HermesLLM(model="mine"))[0]
    assert repr(pickle.loads(pickle.dumps(llm))) == repr(llm)
    monkeypatch.delenv("API_SERVER_KEY")
    with pytest.raises(ValueError, match="API_SERVER_KEY"):
        HermesLLM()


def test_openclaw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_API_KEY", KEY)
    llm = OpenClawLLM("desk")
    headers, body = sent(llm)
    assert llm.base_url == "http://127.0.0.1:18789/v1"
    assert headers["x-openclaw-agent-id"] == "desk"
    assert (body["model"], body["user"]) == ("openclaw:desk", "call-CA1")
    assert repr(pickle.loads(pickle.dumps(llm))) == repr(llm)
    for wrong in ("", "a\r\nb", "é"):
        with pytest.raises(ValueError, match="agent"):
            OpenClawLLM(wrong)
    monkeypatch.delenv("OPENCLAW_API_KEY")
    with pytest.raises(ValueError, match="OPENCLAW_API_KEY"):
        OpenClawLLM("desk")
