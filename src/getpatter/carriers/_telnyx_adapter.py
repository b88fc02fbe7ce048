"""A Telnyx account without a server: its numbers, and calls to sockets of others.

Protocols: https://developers.telnyx.com/api-reference/phone-number-search,
https://developers.telnyx.com/api-reference/phone-number-orders
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

import msgspec

from getpatter.carriers import _telnyx_forms as forms
from getpatter.carriers._telnyx_state import NAME, Codec
from getpatter.carriers.base import (
    NOT_FOR_SALE,
    OFFERS,
    OwnedNumber,
    checked_country,
    checked_stream,
    checked_url,
    checked_webhook,
)
from getpatter.config import credential, optional_credential, setting
from getpatter.errors import PatterError, ProvisionError
from getpatter.net.http import HttpClient
from getpatter.net.messages import Exchange, HttpResponse
from getpatter.types import masked

if TYPE_CHECKING:
    from getpatter.carriers.telnyx import Carrier

logger = logging.getLogger(__name__)

_ASK_EVERY: Final = 1.0
_ORDERED_WITHIN: Final = 30


class _Number(msgspec.Struct):
    id: str = ""
    phone_number: str = ""
    connection_id: str | None = None


class _Meta(msgspec.Struct):
    total_pages: int = 1


class _Numbers(msgspec.Struct):
    data: list[_Number] = []
    meta: _Meta | None = None


class _Application(msgspec.Struct):
    webhook_event_url: str | None = None


class _Shown(msgspec.Struct):
    data: _Application


class _Order(msgspec.Struct):
    id: str = ""
    status: str | None = None


class _Ordered(msgspec.Struct):
    data: _Order


_MOST_PAGES: Final = 20
_PAGE: Final = 250
_shown: Final = msgspec.json.Decoder(_Shown)
_numbers: Final = msgspec.json.Decoder(_Numbers)
_orders: Final = msgspec.json.Decoder(_Ordered)


class TelnyxAdapter:
    """A Telnyx account by itself, without a server: numbers, and calls whose audio goes to a socket of yours.

    ```python
    adapter = TelnyxAdapter("KEY...", connection_id="1494404757140276705")
    number = await adapter.provision_number("US")
    ```

    Every method raises `AuthenticationError`, `RateLimitError` or `PatterConnectionError` when Telnyx refuses.
    """

    def __init__(
        self,
        api_key: str,
        connection_id: str = "",
        *,
        media_codec: Codec = "L16",
        base_url: str = "",
    ) -> None:
        """Opens nothing. What is empty is taken from the environment, as by `Telnyx`.

        Args:
            api_key: An API v2 key, `KEY...`.
            connection_id: The Call Control application of calls and numbers; buying a number needs none.
            media_codec: Of the audio of calls: `"L16"` (16 kHz) or `"PCMU"` (8 kHz).
            base_url: Address of the REST API with its version, where it is not Telnyx's own; else
                `TELNYX_BASE_URL`.

        Raises:
            ValueError: there is no key.
        """
        from getpatter.carriers.telnyx import Carrier  # noqa: PLC0415 - that module offers this class

        self._carrier = Carrier.without_credentials(
            credential("TELNYX_API_KEY", api_key, owner="TelnyxAdapter"),
            optional_credential("TELNYX_CONNECTION_ID", connection_id, argument="connection_id"),
            media_codec=media_codec,
            base_url=base_url or setting("TELNYX_BASE_URL"),
        )
        self._http = HttpClient(NAME)

    def __repr__(self) -> str:
        return f"TelnyxAdapter(connection_id={self._carrier.connection_id!r})"

    async def list_numbers(self) -> list[OwnedNumber]:
        """The account's numbers, and where calls to them ring."""
        return await self._http.run(_owned(self._carrier))

    async def provision_number(self, country: str) -> str:
        """Buy a number of `country` (`"US"`) that takes calls, and return it (E.164).

        **This costs money.** It belongs to `connection_id`, if there is one. An order that Telnyx has not completed
        after half a minute, because it waits for papers, say, is logged; the number is returned all the same.

        Raises:
            ProvisionError: none is for sale, or Telnyx would not sell what it offered.
        """
        number, order_id = await self._http.run(_bought(self._carrier, country))
        for _ in range(_ORDERED_WITHIN if order_id else 0):
            await asyncio.sleep(_ASK_EVERY)
            match await self._http.run(_order_status(self._carrier, order_id)):
                case "success":
                    return number
                case "failure":
                    raise ProvisionError(
                        f"Telnyx could not complete the order of {masked(number)}", vendor=NAME
                    )
                case _:
                    pass
        if order_id:
            logger.warning("telnyx.order_pending number=%s order=%s", masked(number), order_id)
        return number

    async def configure_number(self, number: str, webhook_url: str) -> None:
        """Let calls to `number` ring at `webhook_url`; a bare host name means our own path there.

        Telnyx keeps webhooks with applications: that of `connection_id` gets it, and the number is put there.

        Raises:
            ProvisionError: there is no such application, or the account does not own the number.
            ValueError: there is no `connection_id`.
        """
        url = checked_webhook(webhook_url, vendor=NAME)
        await self._http.run(_linked(self._carrier, number))
        await self._http.run(self._carrier.point_number(number, url=url))

    async def initiate_call(
        self,
        from_number: str,
        to_number: str,
        stream_url: str,
        *,
        ring_timeout: int | None = 25,
        max_call_duration: int = 3600,
        webhook_url: str = "",
    ) -> str:
        """Call somebody and connect the audio to `stream_url` (`wss://`). Returns the call control id.

        Args:
            from_number: A number of the account.
            to_number: E.164, or a `sip:` URI.
            stream_url: Of the media socket.
            ring_timeout: Seconds, 5 to 600; `None` leaves it to Telnyx.
            max_call_duration: Seconds after which Telnyx ends the call.
            webhook_url: Is told what becomes of the call, instead of the application's webhook.

        Raises:
            ValueError: a number or a URL is malformed, or there is no `connection_id`.
        """
        if webhook_url:
            checked_url(webhook_url, {"http", "https"}, "webhook_url", NAME)
        return await self._http.run(
            self._carrier.dial_stream(
                to_number,
                from_number,
                checked_stream(stream_url, vendor=NAME),
                ring_timeout=ring_timeout,
                max_call_duration=max_call_duration,
                webhook_url=webhook_url,
            )
        )

    async def end_call(self, call_id: str) -> None:
        """Hang up, ringing or running; a call that is over already is fine."""
        await self._http.run(self._carrier.hang_up(call_id))

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._http.aclose()


def _bought(carrier: Carrier, country: str) -> Exchange[tuple[str, str]]:
    """Order a number; returns it, and the id of its order when that is not complete yet. Never repeated."""
    code = checked_country(country, vendor=NAME)
    query = urlencode(
        {
            "filter[country_code]": code,
            "filter[features][]": "voice",
            "filter[limit]": OFFERS,
        }
    )
    found = yield carrier.request("GET", f"/available_phone_numbers?{query}")
    refused: PatterError | None = None
    if found.status in NOT_FOR_SALE:
        refused = carrier.refused(found)
    for offer in [] if refused else _list(carrier, found):
        body: dict[str, object] = {"phone_numbers": [{"phone_number": offer.phone_number}]}
        if carrier.connection_id:
            body["connection_id"] = carrier.connection_id
        bought = yield carrier.request("POST", "/number_orders", body)
        if bought.status in NOT_FOR_SALE:
            refused = carrier.refused(bought)
            continue
        order = _order(carrier, bought)
        if order.status != "failure":
            return offer.phone_number, order.id if order.status == "pending" else ""
    raise ProvisionError(
        f"Telnyx has no number of {code} for this account" + (f": {refused}" if refused else ""),
        vendor=NAME,
    )


def _order_status(carrier: Carrier, order_id: str) -> Exchange[str]:
    path = f"/number_orders/{quote(order_id, safe='')}"
    return _order(carrier, (yield carrier.request("GET", path))).status or ""


def _owned(carrier: Carrier) -> Exchange[list[OwnedNumber]]:
    """The account's numbers, and where their applications are told of calls."""
    listed: list[_Number] = []
    for page in range(1, _MOST_PAGES + 1):
        query = urlencode({"page[number]": page, "page[size]": _PAGE})
        some = _page(carrier, (yield carrier.request("GET", f"/phone_numbers?{query}")))
        listed += some.data
        if some.meta is None or page >= some.meta.total_pages:
            break
    urls: dict[str, str | None] = {"": ""}
    for each in listed:
        connection = each.connection_id or ""
        if connection not in urls:
            path = f"/call_control_applications/{quote(connection, safe='')}"
            urls[connection] = _webhook(carrier, (yield carrier.request("GET", path)))
    return [_number(each, urls[each.connection_id or ""]) for each in listed]


def _number(number: _Number, url: str | None) -> OwnedNumber:
    note = "decided by a connection that is no Call Control application" if url is None else ""
    return OwnedNumber(number.phone_number, url or "", note)


def _webhook(carrier: Carrier, response: HttpResponse) -> str | None:
    """That of an application; `None`: it is another kind of connection."""
    if response.status == HTTPStatus.NOT_FOUND:
        return None
    if not _is_success(response):
        raise carrier.refused(response)
    try:
        return _shown.decode(response.body).data.webhook_event_url or ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _linked(carrier: Carrier, number: str) -> Exchange[None]:
    """Let a number of the account belong to the application, where it does not yet."""
    forms.check_number(number)
    if not carrier.connection_id:
        raise forms.invalid("a webhook belongs to an application: pass connection_id")
    query = urlencode({"filter[phone_number]": number.removeprefix("+")})
    found = _list(carrier, (yield carrier.request("GET", f"/phone_numbers?{query}")))
    owned = next((each for each in found if each.phone_number == number), None)
    if owned is None:
        raise ProvisionError(
            f"the Telnyx account has no number {masked(number)}: buy it there, or check the number",
            vendor=NAME,
        )
    if owned.connection_id != carrier.connection_id:
        path = f"/phone_numbers/{quote(owned.id, safe='')}"
        body: dict[str, object] = {"connection_id": carrier.connection_id}
        answer = yield carrier.request("PATCH", path, body, is_repeatable=True)
        if not _is_success(answer):
            raise carrier.refused(answer)


def _list(carrier: Carrier, response: HttpResponse) -> list[_Number]:
    return _page(carrier, response).data


def _page(carrier: Carrier, response: HttpResponse) -> _Numbers:
    if not _is_success(response):
        raise carrier.refused(response)
    try:
        return _numbers.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Numbers()


def _order(carrier: Carrier, response: HttpResponse) -> _Order:
    if not _is_success(response):
        raise carrier.refused(response)
    try:
        return _orders.decode(response.body).data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Order()


def _is_success(response: HttpResponse) -> bool:
    return response.status // 100 == 2  # noqa: PLR2004 - 2xx
