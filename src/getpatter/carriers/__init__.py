"""Phone companies, one file each.

`KINDS` is the export table of their webhooks: every server has the routes of all of them, and those of a
carrier that is not configured answer 503.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from getpatter.carriers.base import Carrier, MediaWire, StreamStarted
    from getpatter.config import LocalConfig

KINDS: Final[Mapping[str, frozenset[str]]] = {
    "twilio": frozenset(
        {"voice", "status", "recording", "amd", "stream", "transfer", "conference"}
    ),
    "telnyx": frozenset({"voice"}),
    "plivo": frozenset({"voice", "status", "amd", "recording", "transfer", "voicemail"}),
}


def carrier_of(config: LocalConfig) -> Carrier:
    """The carrier that a configuration names, with its credentials; without any it can verify nothing.

    Raises:
        ValueError: there is no such carrier.
    """
    if config.telephony_provider not in KINDS:
        raise ValueError(
            f"telephony_provider {config.telephony_provider!r} is none of {sorted(KINDS)}"
        )
    module = import_module(f"{__name__}.{config.telephony_provider}")
    carrier: Carrier = module.Carrier.from_config(config)
    return carrier


def resumed_wire(carrier: str, started: StreamStarted) -> MediaWire:
    """A fresh wire of the carrier of that name, at a stream that had begun: for replays.

    Raises:
        ValueError: there is no such carrier.
    """
    if carrier not in KINDS:
        raise ValueError(f"{carrier!r} is none of the carriers {sorted(KINDS)}")
    wire: MediaWire = import_module(f"{__name__}.{carrier}").Carrier.without_credentials().wire()
    wire.resume(started)
    return wire
