"""Documents that a carrier will fetch, once: what it shall do with a call, under a reference nobody can guess."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections import OrderedDict
from typing import Final

from getpatter.net.messages import WebhookReply
from getpatter.runtime.tokens import Entropy

MOST: Final = 1000
_BYTES: Final = 24


class Documents:
    """Keeps documents until they are fetched; the oldest go when nobody comes for them."""

    def __init__(self, entropy: Entropy) -> None:
        """`entropy` must be unpredictable outside of tests: `secrets.token_bytes`."""
        self._entropy = entropy
        self._kept: OrderedDict[str, WebhookReply] = OrderedDict()

    def keep(self, document: WebhookReply) -> str:
        """Keep `document`; returns the reference for its URL."""
        reference = urlsafe_b64encode(self._entropy(_BYTES)).rstrip(b"=").decode()
        self._kept[reference] = document
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)
        return reference

    def fetch(self, reference: str) -> WebhookReply | None:
        """The document, and nobody gets it again. `None`: there is none."""
        return self._kept.pop(reference, None)
