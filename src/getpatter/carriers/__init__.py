"""Phone companies, one file each.

`KINDS` is the export table of their webhooks: every server has the routes of all of them, and those of a
carrier that is not configured answer 503.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

KINDS: Final[Mapping[str, frozenset[str]]] = {
    "twilio": frozenset(
        {"voice", "status", "recording", "amd", "stream", "transfer", "conference"}
    ),
    "telnyx": frozenset({"voice"}),
    "plivo": frozenset({"voice", "status", "amd", "recording", "transfer", "voicemail"}),
}
