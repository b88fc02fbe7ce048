"""The carriers' accounts that the environment has credentials of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from getpatter import PlivoAdapter, TelnyxAdapter, TwilioAdapter, config
from getpatter.carriers.base import OwnedNumber
from getpatter.errors import PatterConfigError


class Adapter(Protocol):
    """What an account is asked here."""

    async def list_numbers(self) -> list[OwnedNumber]:
        """Its numbers."""
        ...

    async def configure_number(self, number: str, webhook_url: str) -> None:
        """Let a number ring somewhere."""
        ...

    async def close(self) -> None:
        """Give back the connections."""
        ...


@dataclass(frozen=True, slots=True)
class Account:
    """A carrier, as the environment knows it."""

    name: str
    """Path part and word of options: `"twilio"`."""
    shown: str
    variables: tuple[str, ...]
    """Without one of these nothing goes."""
    adapter: Callable[[], Adapter]

    @property
    def missing(self) -> list[str]:
        """Variables that are not set."""
        return [each for each in self.variables if not config.setting(each)]

    @property
    def is_begun(self) -> bool:
        """Whether any variable is set."""
        return len(self.missing) < len(self.variables)


ALL: Final = (
    Account(
        "twilio",
        "Twilio",
        ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"),
        lambda: TwilioAdapter("", ""),
    ),
    Account(
        "telnyx", "Telnyx", ("TELNYX_API_KEY", "TELNYX_CONNECTION_ID"), lambda: TelnyxAdapter("")
    ),
    Account("plivo", "Plivo", ("PLIVO_AUTH_ID", "PLIVO_AUTH_TOKEN"), lambda: PlivoAdapter("", "")),
)


def chosen(name: str = "") -> Sequence[Account]:
    """The account called `name`, or all that have their credentials.

    Raises:
        PatterConfigError: there is none, or it lacks a variable.
    """
    if name:
        account = next(each for each in ALL if each.name == name)
        if account.missing:
            raise PatterConfigError(f"{account.shown} needs {' and '.join(account.missing)}")
        return (account,)
    ready = [each for each in ALL if not each.missing]
    if not ready:
        raise PatterConfigError(
            "there are no credentials of a carrier: set "
            + ", or ".join(" and ".join(each.variables) for each in ALL)
        )
    return ready
