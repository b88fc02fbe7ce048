"""What every input of a session is."""

from __future__ import annotations

import msgspec


class Input(msgspec.Struct, frozen=True, tag=True):
    """Something that happened outside."""
