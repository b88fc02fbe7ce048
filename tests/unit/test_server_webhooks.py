"""What a carrier's webhook is answered, in the documented order of checks."""

from __future__ import annotations

import json
import logging

import pytest

from getpatter.carriers.base import CallProgressed
from getpatter.net.messages import WebhookReply, WebhookRequest
from getpatter.server.gate import Clocks, ServerSettings, headers_of
from getpatter.server.webhooks import Webhooks
from getpatter.types import Instant
from tests.e2e.server_kit import HOST, SECRET, Board, acme, signature

NOW = Instant(50.0)
CLOCKS = Clocks(lambda: NOW, lambda: 1_700_000_000.0)


class FrozenBoard(Board):
    def now(self) -> Instant:
        return NOW


def desk(
    board: Board | None = None, *, secret: bytes = SECRET, require_signature: bool = True
) -> Webhooks:
    settings = ServerSettings(HOST, require_signature=require_signature)
    return Webhooks(
        board or FrozenBoard(), {"acme": acme(secret)}, settings=settings, clocks=CLOCKS
    )


def post(
    webhooks: Webhooks,
    kind: str,
    body: bytes,
    *,
    headers: dict[str, str] | None = None,
    query: str = "",
) -> WebhookReply:
    path = f"/webhooks/acme/{kind}"
    url = path + (f"?{query}" if query else "")
    shown = {"x-acme-signature": signature(url, body)} if headers is None else headers
    return webhooks.answer("acme", kind, WebhookRequest("POST", path, query, shown, body))


def detail(reply: WebhookReply) -> str:
    text = json.loads(reply.body)["detail"]
    assert isinstance(text, str)
    return text


def test_a_call_that_arrives_is_connected() -> None:
    board = FrozenBoard()
    reply = post(desk(board), "voice", b'{"call": "CA1"}')
    assert (reply.status, reply.content_type) == (200, "text/xml")
    document = json.loads(reply.body)
    assert document["url"] == f"wss://{HOST}/ws/stream/CA1"
    assert board.is_expected("CA1", document["token"])


def test_a_repeated_arrival_gets_a_fresh_token_and_no_second_call() -> None:
    board = FrozenBoard()
    webhooks = desk(board)
    tokens = [json.loads(post(webhooks, "voice", b'{"call": "CA1"}').body)["token"] for _ in "12"]
    assert len(set(tokens)) == 2
    assert board.rung == ["CA1"]


def test_too_many_calls_are_busy_not_an_error() -> None:
    board = FrozenBoard()
    board.is_busy = True
    reply = post(desk(board), "voice", b'{"call": "CA1"}')
    assert (reply.status, reply.body) == (200, b"<Busy/>")


def test_each_status_has_one_effect_and_every_delivery_its_answer() -> None:
    board = FrozenBoard()
    webhooks = desk(board)
    for body in (
        b'{"call": "CA1", "status": "ringing", "id": "1"}',
        b'{"call": "CA1", "status": "ringing", "id": "1"}',
        b'{"call": "CA1", "status": "completed", "id": "2"}',
    ):
        assert post(webhooks, "status", body).status == 204
    assert [event.status for event in board.noted if isinstance(event, CallProgressed)] == [
        "ringing",
        "completed",
    ]


def test_a_status_without_a_name_is_handled_every_time() -> None:
    board = FrozenBoard()
    webhooks = desk(board)
    for _ in range(2):
        post(webhooks, "status", b'{"call": "CA1", "status": "ringing"}')
    assert len(board.noted) == 2


def test_what_we_failed_to_handle_may_be_tried_again() -> None:
    board = FrozenBoard()
    webhooks = desk(board)
    board.note_fails = True
    body = b'{"call": "CA1", "status": "ringing", "id": "1"}'
    with pytest.raises(RuntimeError, match="a bug"):
        post(webhooks, "status", body)
    board.note_fails = False
    post(webhooks, "status", body)
    assert len(board.noted) == 1


@pytest.mark.parametrize("position", range(0, len(signature("/webhooks/acme/voice")), 7))
def test_each_changed_character_of_a_signature_is_forbidden(position: int) -> None:
    body = b'{"call": "CA1"}'
    good = signature("/webhooks/acme/voice", body)
    changed = "0" if good[position] != "0" else "1"
    forged = good[:position] + changed + good[position + 1 :]
    reply = post(desk(), "voice", body, headers={"x-acme-signature": forged})
    assert (reply.status, detail(reply)) == (403, "Invalid signature")


@pytest.mark.parametrize("headers", [{}, {"x-acme-signature": ""}])
def test_a_missing_signature_is_forbidden(headers: dict[str, str]) -> None:
    assert post(desk(), "voice", b'{"call": "CA1"}', headers=headers).status == 403


def test_the_query_is_signed_too() -> None:
    body = b'{"call": "CA1"}'
    assert post(desk(), "voice", body, query="a=b%20c").status == 200
    headers = {"x-acme-signature": signature("/webhooks/acme/voice", body)}
    assert post(desk(), "voice", body, query="a=b", headers=headers).status == 403


def test_an_old_delivery_is_forbidden() -> None:
    body = b'{"call": "CA1"}'
    headers = {
        "x-acme-signature": signature("/webhooks/acme/voice", body),
        "x-acme-time": str(1_700_000_000 - 301),
    }
    assert post(desk(), "voice", body, headers=headers).status == 403


def test_the_signature_comes_before_the_shape() -> None:
    assert post(desk(), "voice", b"not json", headers={}).status == 403
    assert post(desk(), "voice", b"not json").status == 400


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"not json", "Invalid JSON body"),
        (b"\xff", "Invalid JSON body"),
        (b"[]", "Invalid webhook payload"),
        (b'{"secret": "do not repeat me"}', "Invalid webhook payload"),
    ],
)
def test_a_wrong_shape_is_400_and_repeats_nothing(body: bytes, said: str) -> None:
    reply = post(desk(), "voice", body)
    assert (reply.status, detail(reply)) == (400, said)


def test_without_a_key_nothing_is_accepted(caplog: pytest.LogCaptureFixture) -> None:
    reply = post(desk(secret=b""), "voice", b'{"call": "CA1"}', headers={})
    assert (reply.status, detail(reply)) == (503, "Webhook signature required")
    assert "webhook.unverifiable carrier=acme" in caplog.text


def test_unsigned_webhooks_are_accepted_on_demand_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    webhooks = desk(secret=b"", require_signature=False)
    for _ in range(3):
        assert post(webhooks, "voice", b'{"call": "CA1"}', headers={}).status == 200
    assert caplog.text.count("webhook.unsigned") == 1


def test_a_bad_signature_is_forbidden_even_when_none_is_required() -> None:
    reply = post(desk(require_signature=False), "voice", b'{"call": "CA1"}', headers={})
    assert reply.status == 403


def test_a_carrier_without_credentials_cannot_be_believed() -> None:
    webhooks = desk(require_signature=False)
    request = WebhookRequest("POST", "/webhooks/nadir/voice", "", {}, b"{}")
    assert webhooks.answer("nadir", "voice", request).status == 503


def test_only_the_hops_of_a_forwarding_header_are_joined() -> None:
    raw = [
        (b"X-Forwarded-For", b"a"),
        (b"X-Sig", b"1"),
        (b"x-forwarded-for", b"b "),
        (b"x-sig", b"2"),
    ]
    assert headers_of(raw) == {"x-forwarded-for": "a, b", "x-sig": "2"}
