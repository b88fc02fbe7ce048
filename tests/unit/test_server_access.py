"""Who may see the calls: the token, the cookie, this machine, and nobody else (OB-13, OB-14)."""

from __future__ import annotations

import logging
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from getpatter.net.messages import WebhookRequest
from getpatter.server.access import (
    COOKIE,
    FAILURES,
    SESSION_SECONDS,
    UNAUTHORIZED,
    Access,
    Admitted,
    SignedIn,
    TokenNote,
)
from getpatter.server.limits import Refusal, TrustedProxies
from getpatter.types import Instant

if TYPE_CHECKING:
    from starlette.requests import Request

TOKEN = "open sesame"
T0 = Instant(1000.0)
STRANGER = "203.0.113.9"
LOCAL = {"host": "127.0.0.1:8000"}


def ask(
    access: Access,
    headers: dict[str, str] | None = None,
    *,
    peer: str = STRANGER,
    at: float = 0.0,
    method: str = "GET",
    query: str = "",
    is_page: bool = False,
) -> Admitted | SignedIn | Refusal:
    request = WebhookRequest(method, "/dashboard", query, headers or {"host": "phone.example"})
    return access.judge(request, peer, now=Instant(T0 + at), is_page=is_page)


def bearer(token: str = TOKEN, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}", "host": "phone.example"} | more


# -------------------------------------------------------------------------------------- with a token


def test_a_chosen_token_is_asked_of_everybody_this_machine_included() -> None:
    access = Access(token=TOKEN)
    assert ask(access, LOCAL, peer="127.0.0.1") == UNAUTHORIZED
    assert ask(access) == UNAUTHORIZED
    assert isinstance(ask(access, bearer()), Admitted)
    assert isinstance(ask(access, bearer(authorization=f"bearer  {TOKEN}")), Admitted)


@pytest.mark.parametrize(
    "given",
    ["Bearer ", "Bearer", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"],
)
def test_nothing_but_the_token_opens(given: str) -> None:
    assert ask(Access(token=TOKEN), bearer(authorization=given)) == UNAUTHORIZED


def test_a_token_may_have_letters_of_any_language() -> None:
    access = Access(token="пароль")
    as_it_arrives = "пароль".encode().decode("latin-1")
    assert isinstance(ask(access, bearer(as_it_arrives)), Admitted)


def test_the_url_opens_the_page_and_only_the_page() -> None:
    access = Access(token=TOKEN, host="phone.example")
    query = urlencode({"token": TOKEN, "tab": "live"})
    assert ask(access, query=query) == UNAUTHORIZED
    signed_in = ask(access, query=query, is_page=True)
    assert isinstance(signed_in, SignedIn)
    assert (signed_in.location, signed_in.is_secure) == ("/dashboard?tab=live", True)
    cookie = {"cookie": f"other=1; {COOKIE}={signed_in.cookie}", "host": "phone.example"}
    assert isinstance(ask(access, cookie), Admitted)
    assert isinstance(ask(access, cookie, at=SESSION_SECONDS - 1), Admitted)
    assert ask(access, cookie, at=SESSION_SECONDS + 1) == UNAUTHORIZED


def test_a_cookie_is_secure_where_the_page_is_reached_by_https() -> None:
    access = Access(token=TOKEN, host="phone.example")
    query = urlencode({"token": TOKEN})
    signed_in = ask(access, LOCAL, query=query, is_page=True)
    assert isinstance(signed_in, SignedIn)
    assert not signed_in.is_secure


def test_cookies_that_we_did_not_make_open_nothing() -> None:
    access, other = Access(token=TOKEN), Access(token=TOKEN)
    signed_in = ask(other, query=urlencode({"token": TOKEN}), is_page=True)
    assert isinstance(signed_in, SignedIn)
    ends, nonce, signature = signed_in.cookie.split(".")
    later = str(int(ends) + 9999)
    for forged in (
        signed_in.cookie,
        f"{later}.{nonce}.{signature}",
        f"{ends}.{nonce}.",
        "..",
        ". .",
        "",
        "9" * 5000,
        "é.é.é",
    ):
        headers = {"cookie": f"{COOKIE}={forged}", "host": "phone.example"}
        assert ask(access, headers) == UNAUTHORIZED
    tampered = {"cookie": f"{COOKIE}={later}.{nonce}.{signature}", "host": "phone.example"}
    assert ask(other, tampered) == UNAUTHORIZED


def test_a_url_cannot_lead_to_another_host() -> None:
    access = Access(token=TOKEN)
    request = WebhookRequest("GET", "//evil.example/", urlencode({"token": TOKEN}), {})
    signed_in = access.judge(request, STRANGER, now=T0, is_page=True)
    assert isinstance(signed_in, SignedIn)
    assert signed_in.location == "/evil.example/"


# ------------------------------------------------------------------------------------ wrong tokens


def test_ten_wrong_tokens_lock_an_address_out_for_a_minute() -> None:
    access = Access(token=TOKEN)
    for second in range(FAILURES):
        assert ask(access, bearer("guess"), at=second) == UNAUTHORIZED
    locked = ask(access, bearer(), at=10)
    assert isinstance(locked, Refusal)
    assert (locked.status, locked.headers["retry-after"]) == (429, "51")
    assert isinstance(ask(access, bearer(), peer="203.0.113.10", at=10), Admitted)
    assert isinstance(ask(access, bearer(), at=60), Admitted)


def test_a_guess_in_the_url_is_a_guess() -> None:
    access = Access(token=TOKEN)
    for _ in range(FAILURES):
        assert ask(access, query="token=guess", is_page=True) == UNAUTHORIZED
    locked = ask(access, query=urlencode({"token": TOKEN}), is_page=True)
    assert isinstance(locked, Refusal)
    assert locked.status == 429


def test_asking_without_a_token_is_no_guess() -> None:
    access = Access(token=TOKEN)
    for _ in range(50):
        assert ask(access) == UNAUTHORIZED
    assert isinstance(ask(access, bearer()), Admitted)


def test_whoever_has_signed_in_is_not_locked_out_by_a_neighbour() -> None:
    access = Access(token=TOKEN)
    signed_in = ask(access, query=urlencode({"token": TOKEN}), is_page=True)
    assert isinstance(signed_in, SignedIn)
    for _ in range(FAILURES + 1):
        ask(access, bearer("guess"))
    cookie = {"cookie": f"{COOKIE}={signed_in.cookie}", "host": "phone.example"}
    assert isinstance(ask(access, cookie), Admitted)


def test_guesses_are_counted_behind_proxies_that_are_trusted_only() -> None:
    access = Access(token=TOKEN, proxies=TrustedProxies.of(["10.0.0.1"]))
    for each in range(FAILURES):
        ask(access, bearer("guess", **{"x-forwarded-for": f"198.51.100.{each}"}))
    locked = ask(access, bearer(**{"x-forwarded-for": "198.51.100.99"}))
    assert isinstance(locked, Refusal)
    assert locked.status == 429
    for _ in range(FAILURES):
        ask(access, bearer("guess", **{"x-forwarded-for": "198.51.100.1"}), peer="10.0.0.1")
    other = bearer(**{"x-forwarded-for": "198.51.100.2"})
    assert isinstance(ask(access, other, peer="10.0.0.1"), Admitted)


def test_the_addresses_of_one_holder_of_ipv6_count_together() -> None:
    access = Access(token=TOKEN)
    for each in range(FAILURES):
        ask(access, bearer("guess"), peer=f"2001:db8:1:2::{each}")
    locked = ask(access, bearer(), peer="2001:db8:1:2:ffff::1")
    assert isinstance(locked, Refusal)
    assert locked.status == 429
    assert isinstance(ask(access, bearer(), peer="2001:db8:1:3::1"), Admitted)


def test_guessers_take_a_bounded_amount_of_memory() -> None:
    access = Access(token=TOKEN)
    for each in range(10_000):
        ask(access, bearer("guess"), peer=f"100.64.{each // 250}.{each % 250}")
    assert len(access._failures) == 4096


# ---------------------------------------------------------------------------------- without a token


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("127.0.0.1", "127.0.0.1:8000"),
        ("127.0.0.1", "localhost:8000"),
        ("127.0.0.1", "LOCALHOST"),
        ("::1", "[::1]:8000"),
        ("::ffff:127.0.0.1", "localhost"),
    ],
)
def test_this_machine_is_served_without_a_token(peer: str, host: str) -> None:
    assert isinstance(ask(Access(), {"host": host}, peer=peer), Admitted)


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        (STRANGER, {"host": "127.0.0.1"}),
        ("127.0.0.1", {"host": "phone.example"}),
        ("127.0.0.1", {"host": "localhost.evil.example"}),
        ("127.0.0.1", {"host": ""}),
        ("127.0.0.1", {}),
        ("", {"host": "localhost"}),
        ("127.0.0.1", LOCAL | {"x-forwarded-for": "127.0.0.1"}),
        ("127.0.0.1", LOCAL | {"x-forwarded-host": "phone.example"}),
        ("127.0.0.1", LOCAL | {"forwarded": "for=127.0.0.1"}),
        ("127.0.0.1", LOCAL | {"x-real-ip": "127.0.0.1"}),
        ("127.0.0.1", LOCAL | {"cf-connecting-ip": "127.0.0.1"}),
        ("127.0.0.1", LOCAL | {"via": "1.1 proxy"}),
    ],
)
def test_what_may_have_come_from_elsewhere_is_not(peer: str, headers: dict[str, str]) -> None:
    assert ask(Access(), headers, peer=peer) == UNAUTHORIZED


@pytest.mark.parametrize(
    ("more", "is_served"),
    [
        ({}, True),
        ({"origin": "http://127.0.0.1:8000"}, True),
        ({"sec-fetch-site": "same-origin"}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://127.0.0.1:3000"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
    ],
)
def test_a_page_of_somebody_else_cannot_delete_through_this_machine(
    more: dict[str, str], *, is_served: bool
) -> None:
    answer = ask(Access(), LOCAL | more, peer="127.0.0.1", method="POST")
    assert isinstance(answer, Admitted) is is_served


def test_the_token_made_at_start_opens_from_elsewhere() -> None:
    access = Access()
    assert len(access.token) >= 32
    assert access.token != Access().token
    assert isinstance(ask(access, bearer(access.token)), Admitted)
    assert ask(access, bearer("guess")) == UNAUTHORIZED


def test_anybody_is_served_where_the_user_says_so_and_has_no_token() -> None:
    assert isinstance(ask(Access(allows_anybody=True)), Admitted)
    assert ask(Access(allows_anybody=True, token=TOKEN)) == UNAUTHORIZED


# -------------------------------------------------------------------------------- told to the operator


def test_without_a_terminal_the_token_goes_to_a_file_of_this_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    caplog.set_level(logging.DEBUG)
    access = Access()
    note = TokenNote(access)
    note.tell(8000)
    (path,) = tmp_path.iterdir()
    assert path.read_text().strip() == access.token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(path) in caplog.text
    assert access.token not in caplog.text
    note.tear_up()
    note.tear_up()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("access", [Access(token=TOKEN), Access(allows_anybody=True)])
def test_nothing_is_told_where_no_token_was_made(
    access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    TokenNote(access).tell(8000)
    assert not list(tmp_path.iterdir())


def test_on_a_terminal_the_token_is_shown_and_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    access = Access()
    TokenNote(access).tell(8123)
    shown = capsys.readouterr().err
    assert "http://127.0.0.1:8123/dashboard" in shown
    assert access.token in shown
    assert not list(tmp_path.iterdir())


def test_a_disk_that_cannot_be_written_costs_the_token_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    TokenNote(Access()).tell(8000)
    assert "access.token_not_kept" in caplog.text


# ------------------------------------------------------------------------------------- as an endpoint


def site(access: Access) -> Starlette:
    async def show(_request: Request) -> Response:
        return PlainTextResponse("calls")

    return Starlette(
        routes=[
            Route("/dashboard", access.guard(show, is_page=True)),
            Route("/api", access.guard(show), methods=["GET", "POST"]),
        ]
    )


async def test_signing_in_with_a_browser() -> None:
    access = Access(token=TOKEN, host="phone.example", now=lambda: T0)
    wire = httpx.ASGITransport(site(access), client=(STRANGER, 4711))
    async with httpx.AsyncClient(transport=wire, base_url="https://phone.example") as browser:
        refused = await browser.get("/api")
        assert (refused.status_code, refused.json()) == (401, {"detail": "Unauthorized"})
        assert refused.headers["www-authenticate"] == "Bearer"
        answer = await browser.get("/dashboard", params={"token": TOKEN})
        assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
        cookie = answer.headers["set-cookie"].lower()
        for said in ("httponly", "samesite=strict", "secure", "path=/", "max-age=43200"):
            assert said in cookie
        assert TOKEN not in str(answer.headers)
        assert (await browser.get("/dashboard")).text == "calls"
        assert (await browser.get("/api")).text == "calls"


async def test_a_program_presents_its_token() -> None:
    access = Access(token=TOKEN, now=lambda: T0)
    wire = httpx.ASGITransport(site(access), client=(STRANGER, 4711))
    async with httpx.AsyncClient(transport=wire, base_url="http://phone.example") as program:
        for _ in range(FAILURES):
            wrong = await program.get("/api", headers={"authorization": "Bearer guess"})
            assert wrong.status_code == 401
        locked = await program.get("/api", headers={"authorization": f"Bearer {TOKEN}"})
        assert (locked.status_code, locked.json()) == (429, {"detail": "Too Many Requests"})
        assert int(locked.headers["retry-after"]) > 0
