"""A Twilio account without a server: its numbers, and calls to sockets of others."""

from __future__ import annotations

from collections.abc import Mapping

from getpatter.carriers import _twilio_forms as forms
from getpatter.carriers.base import OwnedNumber, checked_stream, checked_url, checked_webhook
from getpatter.net.http import HttpClient


class TwilioAdapter:
    """A Twilio account by itself, without a server: numbers, and calls whose audio goes to a socket of yours.

    ```python
    adapter = TwilioAdapter("AC...", "your-auth-token")
    number = await adapter.provision_number("US")
    ```

    Every method raises `AuthenticationError`, `RateLimitError` or `PatterConnectionError` when Twilio refuses.
    """

    def __init__(self, account_sid: str, auth_token: str, *, base_url: str = "") -> None:
        """Opens nothing. Empty credentials are taken from the environment, as by `Twilio`.

        Raises:
            ValueError: there is no credential.
        """
        from getpatter.carriers.twilio import Carrier  # noqa: PLC0415 - that module offers this class

        self._carrier = Carrier(account_sid, auth_token, base_url=base_url)
        self._http = HttpClient(forms.NAME)

    def __repr__(self) -> str:
        return f"TwilioAdapter(account_sid={self._carrier.account_sid!r})"

    async def list_numbers(self) -> list[OwnedNumber]:
        """The account's numbers, and where calls to them ring."""
        return await self._http.run(self._carrier.own_numbers())

    async def provision_number(self, country: str) -> str:
        """Buy a number of `country` (`"US"`) that takes calls, and return it (E.164).

        **This costs money.**

        Raises:
            ProvisionError: none is for sale, or Twilio would not sell what it offered.
        """
        return await self._http.run(self._carrier.buy_number(country))

    async def configure_number(self, number: str, webhook_url: str) -> None:
        """Let calls to `number` ring at `webhook_url`; a bare host name means our own path there.

        Raises:
            ProvisionError: the account does not own the number.
        """
        url = checked_webhook(webhook_url, vendor=forms.NAME)
        await self._http.run(self._carrier.point_number(number, url=url))

    async def initiate_call(  # noqa: PLR0913 - what a call is made of
        self,
        from_number: str,
        to_number: str,
        stream_url: str,
        *,
        ring_timeout: int | None = 25,
        max_call_duration: int = 3600,
        parameters: Mapping[str, str] | None = None,
        status_callback: str = "",
    ) -> str:
        """Call somebody and connect the audio to `stream_url` (`wss://`). Returns the call's id.

        Args:
            from_number: A number of the account.
            to_number: E.164, or a `sip:` URI.
            stream_url: Of the media socket. Twilio takes no query there: use `parameters`.
            ring_timeout: Seconds; `None` leaves it to Twilio.
            max_call_duration: Seconds after which Twilio ends the call.
            parameters: Handed to the socket in its `start` frame.
            status_callback: URL that is told what becomes of the call.

        Raises:
            ValueError: a number or a URL is malformed.
        """
        return await self._http.run(
            self._carrier.dial_stream(
                to_number,
                from_number,
                checked_stream(stream_url, vendor=forms.NAME),
                ring_timeout=ring_timeout,
                max_call_duration=max_call_duration,
                parameters=parameters,
                status_callback=status_callback
                and checked_url(status_callback, {"http", "https"}, "status_callback", forms.NAME),
            )
        )

    async def end_call(self, call_id: str) -> None:
        """Hang up, ringing or running; a call that is over already is fine."""
        await self._http.run(self._carrier.hang_up(call_id))

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._http.aclose()
