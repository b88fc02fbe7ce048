"""A Plivo account without a server: its numbers, and calls to sockets of others."""

from __future__ import annotations

from urllib.parse import urlsplit

from getpatter.carriers import _plivo_forms as forms
from getpatter.carriers.base import OwnedNumber, checked_stream, checked_webhook
from getpatter.net.http import HttpClient


class PlivoAdapter:
    """A Plivo account by itself, without a server: numbers, and calls whose audio goes to a socket of yours.

    ```python
    adapter = PlivoAdapter("MA...", "your-auth-token")
    number = await adapter.provision_number("US")
    ```

    Every method raises `AuthenticationError`, `RateLimitError` or `PatterConnectionError` when Plivo refuses.
    """

    def __init__(self, auth_id: str, auth_token: str, *, base_url: str = "") -> None:
        """Opens nothing. Empty credentials are taken from the environment, as by `Plivo`.

        Raises:
            ValueError: there is no credential.
        """
        from getpatter.carriers.plivo import Carrier  # noqa: PLC0415 - that module offers this class

        self._carrier = Carrier(auth_id, auth_token, base_url=base_url)
        self._http = HttpClient(forms.NAME)

    def __repr__(self) -> str:
        return f"PlivoAdapter(auth_id={self._carrier.auth_id!r})"

    @staticmethod
    def stream_document(stream_url: str) -> str:
        """The XML that connects a call's audio to `stream_url`: what an `answer_url` has to answer."""
        url = checked_stream(stream_url, vendor=forms.NAME)
        return forms.reply(forms.connect_to(url)).body.decode()

    async def list_numbers(self) -> list[OwnedNumber]:
        """The account's numbers, and where calls to them ring."""
        return await self._http.run(self._carrier.own_numbers())

    async def provision_number(self, country: str) -> str:
        """Rent a number of `country` (`"US"`) that takes calls, and return it (E.164).

        **This costs money.**

        Raises:
            ProvisionError: none is to be had, or Plivo would not give what it offered.
        """
        return await self._http.run(self._carrier.buy_number(country))

    async def configure_number(self, number: str, webhook_url: str) -> None:
        """Let calls to `number` ring at `webhook_url`; a bare host name means our own path there.

        Raises:
            ProvisionError: the account does not own the number.
        """
        url = checked_webhook(webhook_url, vendor=forms.NAME)
        await self._http.run(self._carrier.point_number(number, url=url))

    async def initiate_call(
        self,
        from_number: str,
        to_number: str,
        stream_url: str,
        *,
        answer_url: str = "",
        ring_timeout: int | None = 25,
        max_call_duration: int = 3600,
    ) -> str:
        """Call somebody and connect the audio to `stream_url` (`wss://`). Returns the id of the request.

        Plivo takes no document with the request: it fetches one from `answer_url` when the callee answers.

        Args:
            from_number: A number of the account.
            to_number: E.164, or a `sip:` URI.
            stream_url: Of the media socket.
            answer_url: Answers a POST with `stream_document(stream_url)`. Empty: the voice webhook of the getpatter
                server at the host of `stream_url`, which connects the call to a stream of its own.
            ring_timeout: Seconds; `None` leaves it to Plivo.
            max_call_duration: Seconds after which Plivo ends the call.

        Raises:
            ValueError: a number or a URL is malformed.
        """
        stream = checked_stream(stream_url, vendor=forms.NAME)
        answer_url = answer_url or urlsplit(stream).netloc
        return await self._http.run(
            self._carrier.dial_document(
                to_number,
                from_number,
                checked_webhook(answer_url, vendor=forms.NAME),
                ring_timeout=ring_timeout,
                max_call_duration=max_call_duration,
            )
        )

    async def end_call(self, call_id: str) -> None:
        """Hang up, ringing or running; a call that is over already is fine."""
        await self._http.run(self._carrier.hang_up(call_id))

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self._http.aclose()
