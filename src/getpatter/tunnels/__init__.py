"""Public names for a server behind a router: tunnels that the SDK starts, and names that you forward yourself."""

from __future__ import annotations

from dataclasses import dataclass

from getpatter.runtime.hosts import checked_host


@dataclass(frozen=True, slots=True)
class Static:
    """A host name that you already forward to this machine. The SDK starts nothing.

    Raises:
        ValueError: no name, or not a bare host name.
    """

    hostname: str

    def __post_init__(self) -> None:
        if not checked_host(self.hostname, name="hostname"):
            raise ValueError("hostname is empty: pass Static(hostname='abc123.ngrok.io')")


@dataclass(frozen=True, slots=True)
class Ngrok:
    """The host name of an ngrok tunnel that you run yourself (`ngrok http 8000`).

    Raises:
        NotImplementedError: no name; the SDK does not start ngrok.
        ValueError: not a bare host name.
    """

    hostname: str = ""

    def __post_init__(self) -> None:
        if not self.hostname:
            raise NotImplementedError(
                "getpatter does not start ngrok: run 'ngrok http 8000' and pass Ngrok(hostname=...)"
            )
        checked_host(self.hostname, name="hostname")
