"""Adapters: numbers are bought and calls placed at simulated carriers, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import pytest

from getpatter import (
    AuthenticationError,
    PatterConnectionError,
    PlivoAdapter,
    ProvisionError,
    TelnyxAdapter,
    TwilioAdapter,
)
from getpatter.carriers import plivo, telnyx, twilio
from getpatter.carriers.base import OwnedNumber
from getpatter.testing.plivo import SimulatedPlivo
from getpatter.testing.telnyx import SimulatedTelnyx
from getpatter.testing.twilio import Number, SimulatedTwilio

STREAM: Final = "wss://media.example/socket"
WRONG: Final = "wrong-secret-of-this-test-0000"
HOOK: Final = "https://calls.example/ring"


class Adapter(Protocol):
    """What the three have in common."""

    async def provision_number(self, country: str) -> str: ...

    async def configure_number(self, number: str, webhook_url: str) -> None: ...

    async def list_numbers(self) -> list[OwnedNumber]: ...

    async def initiate_call(self, from_number: str, to_number: str, stream_url: str) -> str: ...

    async def end_call(self, call_id: str) -> None: ...

    async def close(self) -> None: ...


@dataclass
class Company:
    """One carrier, and what a test may ask of it."""

    carrier: Any
    adapter: Adapter
    stranger: Adapter
    """With wrong credentials."""
    buy: str
    place: str


@asynccontextmanager
async def company(name: str) -> AsyncIterator[Company]:
    """A simulated carrier with its adapter."""
    match name:
        case "twilio":
            twilio_ = SimulatedTwilio()
            async with twilio_:
                sid, base = twilio_.account_sid, twilio_.base_url
                one = Company(
                    twilio_,
                    TwilioAdapter(sid, twilio_.auth_token, base_url=base),
                    TwilioAdapter(sid, WRONG, base_url=base),
                    "POST /IncomingPhoneNumbers.json",
                    "POST /Calls.json",
                )
                yield one
                await _closed(one)
        case "telnyx":
            telnyx_ = SimulatedTelnyx()
            async with telnyx_:
                connection, base = telnyx_.connection_id, telnyx_.base_url
                one = Company(
                    telnyx_,
                    TelnyxAdapter(telnyx_.api_key, connection, base_url=base),
                    TelnyxAdapter(WRONG, connection, base_url=base),
                    "POST /number_orders",
                    "POST /calls",
                )
                yield one
                await _closed(one)
        case _:
            plivo_ = SimulatedPlivo()
            async with plivo_:
                login, base = plivo_.auth_id, plivo_.base_url
                one = Company(
                    plivo_,
                    PlivoAdapter(login, plivo_.auth_token, base_url=base),
                    PlivoAdapter(login, WRONG, base_url=base),
                    "POST /PhoneNumber/{id}/",
                    "POST /Call/",
                )
                yield one
                await _closed(one)


async def _closed(one: Company) -> None:
    for adapter in (one.adapter, one.stranger):
        await adapter.close()
        await adapter.close()


all_carriers = pytest.mark.parametrize("name", ["twilio", "telnyx", "plivo"])


@all_carriers
async def test_a_number_is_bought_and_its_webhook_set(name: str) -> None:
    async with company(name) as one:
        number = await one.adapter.provision_number("us")
        assert number == "+15550002001"
        await one.adapter.configure_number(number, HOOK)
        bought = one.carrier
        match name:
            case "twilio":
                assert bought.numbers[-1].phone_number == number
                assert bought.numbers[-1].voice_url == HOOK
            case "telnyx":
                assert bought.numbers[number]["connection_id"] == bought.connection_id
                assert bought.webhook_url == HOOK
            case _:
                assert number.removeprefix("+") in bought.numbers
                assert bought.applications[bought.linked_to]["answer_url"] == HOOK
        await one.adapter.configure_number(number, "calls.example")
        assert any(f"https://calls.example/webhooks/{name}/voice" in str(url) for url in _urls(one))
        assert not bought.problems


def _urls(one: Company) -> list[object]:
    carrier = one.carrier
    if isinstance(carrier, SimulatedTwilio):
        return [each.voice_url for each in carrier.numbers]
    if isinstance(carrier, SimulatedTelnyx):
        return [carrier.webhook_url]
    return [each["answer_url"] for each in carrier.applications.values()]


@all_carriers
async def test_the_numbers_of_an_account_are_listed_with_where_they_ring(name: str) -> None:
    async with company(name) as one:
        number = await one.adapter.provision_number("US")
        before = {each.number: each for each in await one.adapter.list_numbers()}
        assert len(before) == 2
        assert before[number].webhook_url == ""
        await one.adapter.configure_number(number, HOOK)
        after = {each.number: each for each in await one.adapter.list_numbers()}
        assert after[number].webhook_url == HOOK
        assert number not in repr(after[number])
        assert not one.carrier.problems
        with pytest.raises(AuthenticationError):
            await one.stranger.list_numbers()


@all_carriers
async def test_an_account_may_have_more_numbers_than_a_page(name: str) -> None:
    async with company(name) as one:
        many = [f"+1555{index:07}" for index in range(1100)]
        carrier = one.carrier
        if isinstance(carrier, SimulatedTwilio):
            carrier.numbers = [Number(carrier.new_sid("PN"), each) for each in many]
        elif isinstance(carrier, SimulatedTelnyx):
            carrier.numbers = {
                each: {"id": each, "connection_id": carrier.connection_id} for each in many
            }
        else:
            many = many[:45]
            carrier.numbers = [each.removeprefix("+") for each in many]
        assert [each.number for each in await one.adapter.list_numbers()] == many
        assert not carrier.problems


async def test_numbers_that_something_else_decides_about_say_so() -> None:
    async with company("twilio") as one:
        (number,) = one.carrier.numbers
        number.voice_url, number.trunk_sid = HOOK, "TK" + "0" * 32
        (listed,) = await one.adapter.list_numbers()
        assert (listed.webhook_url, listed.note) == ("", "decided by its trunk")
    async with company("telnyx") as one:
        one.carrier.numbers["+15550001234"] = {"id": "1", "connection_id": "another"}
        listed = next(
            each for each in await one.adapter.list_numbers() if each.number == "+15550001234"
        )
        assert "no Call Control application" in listed.note


@all_carriers
async def test_nothing_for_sale_is_a_provision_error(name: str) -> None:
    async with company(name) as one:
        with pytest.raises(ProvisionError, match="no number of FR"):
            await one.adapter.provision_number("FR")
        assert not one.carrier.asked(one.buy)


@all_carriers
async def test_a_number_that_somebody_else_was_quicker_with_is_followed_by_the_next(
    name: str,
) -> None:
    async with company(name) as one:
        taken = "15550002001" if name == "plivo" else "+15550002001"
        one.carrier.sold_meanwhile = {taken}
        assert await one.adapter.provision_number("US") == "+15550002002"
        assert [each.status // 100 for each in one.carrier.asked(one.buy)] == [4, 2]


@all_carriers
async def test_numbers_that_are_all_refused_are_a_provision_error_in_the_carriers_words(
    name: str,
) -> None:
    async with company(name) as one:
        plus = "" if name == "plivo" else "+"
        one.carrier.sold_meanwhile = {f"{plus}15550002001", f"{plus}15550002002"}
        with pytest.raises(ProvisionError, match="is not available"):
            await one.adapter.provision_number("US")


@all_carriers
async def test_a_purchase_that_failed_at_the_carrier_is_not_repeated(name: str) -> None:
    async with company(name) as one:
        one.carrier.refuse_next(503, operation=one.buy)
        with pytest.raises(PatterConnectionError):
            await one.adapter.provision_number("US")
        assert len(one.carrier.asked(one.buy)) == 1


@all_carriers
async def test_wrong_credentials_are_an_authentication_error(name: str) -> None:
    async with company(name) as one:
        with pytest.raises(AuthenticationError) as error:
            await one.stranger.provision_number("US")
        assert WRONG not in str(error.value)
        assert WRONG not in repr(one.stranger)


@all_carriers
async def test_a_number_of_somebody_else_cannot_be_configured(name: str) -> None:
    async with company(name) as one:
        with pytest.raises(ProvisionError, match="no number"):
            await one.adapter.configure_number("+15550007777", HOOK)


@all_carriers
async def test_what_is_malformed_never_reaches_the_carrier(name: str) -> None:
    async with company(name) as one:
        for country in ("USA", "", "1", "u/", "ÄÖ"):
            with pytest.raises(ValueError, match="country"):
                await one.adapter.provision_number(country)
        for stream in ("media.example", "https://media.example/", "wss://", "wss://a b/"):
            with pytest.raises(ValueError, match="stream_url"):
                await one.adapter.initiate_call(one.carrier.number, "+15550009876", stream)
        for hook in ("ftp://x.example/", "not a host", ""):
            with pytest.raises(ValueError, match="webhook_url"):
                await one.adapter.configure_number(one.carrier.number, hook)
        with pytest.raises(ValueError, match="number"):
            await one.adapter.initiate_call("12", "+15550009876", STREAM)
        with pytest.raises(ValueError, match="not the id"):
            await one.adapter.end_call("../../x")
        assert not one.carrier.requests


@all_carriers
async def test_a_call_is_placed_and_ended(name: str) -> None:
    async with company(name) as one:
        carrier = one.carrier
        call_id = await one.adapter.initiate_call(carrier.number, "+15550009876", STREAM)
        (placed,) = carrier.asked(one.place)
        match name:
            case "twilio":
                assert f'<Connect><Stream url="{STREAM}"' in placed["Twiml"]
                assert placed["TimeLimit"] == "3600"
            case "telnyx":
                assert placed["stream_url"] == STREAM
                assert placed["stream_codec"] == "L16"
            case _:
                assert placed["answer_url"] == "https://media.example/webhooks/plivo/voice"
        call = carrier.calls[0]
        # A call of Plivo gets its own id only when it begins to ring.
        assert call_id == (
            call.request_id if name == "plivo" else getattr(call, "sid", "") or call.id
        )
        own_id = call.id if name == "plivo" else call_id
        await one.adapter.end_call(own_id)
        await call.ended()
        assert call.is_over
        await one.adapter.end_call(own_id)


async def test_twilio_hands_parameters_to_the_socket_and_tells_where_it_is_asked_to() -> None:
    async with company("twilio") as one:
        adapter = one.adapter
        assert isinstance(adapter, TwilioAdapter)
        await adapter.initiate_call(
            one.carrier.number,
            "+15550009876",
            STREAM,
            ring_timeout=None,
            parameters={"who": '<Ann> & "Bob"'},
            status_callback=HOOK,
        )
        (placed,) = one.carrier.asked(one.place)
        assert "&lt;Ann&gt; &amp; &quot;Bob&quot;" in placed["Twiml"]
        assert (placed["StatusCallback"], placed["Timeout"]) == (HOOK, "")
        with pytest.raises(ValueError, match="parameter"):
            await adapter.initiate_call(
                one.carrier.number, "+15550009876", STREAM, parameters={"long": "x" * 500}
            )


async def test_a_telnyx_order_is_followed_to_its_end() -> None:
    async with company("telnyx") as one:
        one.carrier.order_takes = 1
        assert await one.adapter.provision_number("US") == "+15550002001"
        one.carrier.order_takes = -1
        with pytest.raises(ProvisionError, match=r"order of \*\*\*2002"):
            await one.adapter.provision_number("US")


async def test_a_telnyx_number_moves_to_the_application() -> None:
    async with company("telnyx") as one:
        one.carrier.numbers["+15550003333"] = {"id": "77", "connection_id": "other"}
        await one.adapter.configure_number("+15550003333", HOOK)
        assert one.carrier.numbers["+15550003333"]["connection_id"] == one.carrier.connection_id
        await one.adapter.configure_number("+15550003333", HOOK)
        assert len(one.carrier.asked("PATCH /phone_numbers/{id}")) == 1


async def test_a_telnyx_call_needs_an_application(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELNYX_CONNECTION_ID", raising=False)
    async with SimulatedTelnyx() as carrier:
        adapter = TelnyxAdapter(carrier.api_key, base_url=carrier.base_url, media_codec="PCMU")
        try:
            assert await adapter.provision_number("US") == "+15550002001"
            with pytest.raises(ValueError, match="connection_id"):
                await adapter.initiate_call(carrier.number, "+15550009876", STREAM)
            with pytest.raises(ValueError, match="connection_id"):
                await adapter.configure_number(carrier.number, HOOK)
        finally:
            await adapter.close()


def test_plivo_fetches_its_document() -> None:
    document = PlivoAdapter.stream_document(STREAM + "?a=1&b=2")
    assert f">{STREAM}?a=1&amp;b=2</Stream>" in document
    assert document.startswith('<?xml version="1.0" encoding="UTF-8"?>')


async def test_a_plivo_document_may_be_anywhere() -> None:
    async with company("plivo") as one:
        assert isinstance(one.adapter, PlivoAdapter)
        await one.adapter.initiate_call(
            one.carrier.number, "+15550009876", STREAM, answer_url="https://xml.example/answer"
        )
        (placed,) = one.carrier.asked(one.place)
        assert placed["answer_url"] == "https://xml.example/answer"


def test_adapters_are_names_of_their_carriers_modules() -> None:
    assert twilio.TwilioAdapter is TwilioAdapter
    assert telnyx.TelnyxAdapter is TelnyxAdapter
    assert plivo.PlivoAdapter is PlivoAdapter


@pytest.mark.parametrize("adapter", [TwilioAdapter, PlivoAdapter])
def test_without_credentials_nothing_is_made(adapter: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (
        "TWILIO_ACCOUNT_SID",
        "TWILIO_AUTH_TOKEN",
        "PLIVO_AUTH_ID",
        "PLIVO_AUTH_TOKEN",
    ):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ValueError, match="needs an"):
        adapter("", "")
    monkeypatch.delenv("TELNYX_API_KEY", raising=False)
    with pytest.raises(ValueError, match="api_key"):
        TelnyxAdapter("")
