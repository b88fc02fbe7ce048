"""What we let Telnyx remember for us: the `client_state` of a call, echoed in every later event of it.

Telnyx connects a call's audio in two steps, and news of them may overtake the answers to our requests. So
how far a call has come is not kept here but sent along: our reference of the call, and how its stream was asked
for. Nothing in it is secret.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Final, Literal

NAME: Final = "telnyx"
CALL_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_\-=+.~]{0,255}", re.ASCII)
"""A call control id, such as `v3:AbC…`. Letters, digits and what may stand in a path."""

Codec = Literal["L16", "PCMU"]
_STATE: Final = re.compile(r"(L16|PCMU|-|T);([\x21-\x7e]{0,300})", re.ASCII)


@dataclass(frozen=True, slots=True)
class State:
    """How far a call has come."""

    reference: str = ""
    """Our name of the call."""
    asked: Codec | None = None
    """In which codec its stream was asked for; `None`: not yet."""
    is_target: bool = False
    """Whether this is the one that a caller is transferred to; `reference` is then the caller's call id."""

    @staticmethod
    def of_target(call_id: str) -> str:
        """The `client_state` of the one that the caller of `call_id` is transferred to."""
        return b64encode(f"T;{call_id}".encode()).decode()

    def text(self) -> str:
        """As `client_state`: base64."""
        return b64encode(f"{self.asked or '-'};{self.reference}".encode()).decode()

    @classmethod
    def read(cls, text: str | None) -> State:
        """From a `client_state`; empty when it is none of ours."""
        try:
            plain = b64decode(text or "", validate=True).decode()
        except (binascii.Error, ValueError):
            return cls()
        found = _STATE.fullmatch(plain)
        if found is None:
            return cls()
        match found[1]:
            case "L16":
                return cls(found[2], "L16")
            case "PCMU":
                return cls(found[2], "PCMU")
            case "T":
                return cls(found[2], is_target=True)
            case _:
                return cls(found[2])
