"""What the server answers to a carrier's webhook, and what comes of it.

Everything here is decided from memory: no carrier, provider, disk or user code is waited for. Order: signature and
freshness → shape → duplicate → handling; size was seen to before.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Final

from getpatter.carriers.base import (
    CallArrived,
    Carrier,
    DocumentAsked,
    TransferOver,
    Verdict,
    WebhookEvent,
)
from getpatter.errors import WireError
from getpatter.net.messages import WebhookReply, WebhookRequest
from getpatter.runtime.deliveries import Deliveries
from getpatter.runtime.media import Switchboard
from getpatter.server.gate import Clocks, ServerSettings

logger = logging.getLogger(__name__)

# What a 400 may say: a parser's own words could repeat what the request held.
_COMPLAINTS: Final = frozenset(
    {"Invalid JSON body", "Invalid webhook structure", "Invalid webhook payload"}
)
_COMPLAINT: Final = "Invalid webhook payload"


def problem(status: int, detail: str) -> WebhookReply:
    """A JSON answer that says what is wrong."""
    return WebhookReply(status, json.dumps({"detail": detail}).encode(), "application/json")


UNVERIFIABLE: Final = problem(503, "Webhook signature required")
_FORGED: Final = problem(403, "Invalid signature")


class Webhooks:
    """Answers the webhooks of all configured carriers."""

    def __init__(
        self,
        switchboard: Switchboard,
        carriers: Mapping[str, Carrier],
        *,
        settings: ServerSettings,
        clocks: Clocks,
    ) -> None:
        """`carriers` by name."""
        self._switchboard = switchboard
        self._carriers = dict(carriers)
        self._settings = settings
        self._clocks = clocks
        self._deliveries = Deliveries()
        self._warned_of: set[str] = set()

    def answer(self, name: str, kind: str, request: WebhookRequest) -> WebhookReply:
        """Check, read and act on one webhook of the carrier `name`; returns what to answer."""
        carrier = self._carriers.get(name)
        if carrier is None:  # a carrier we know but have no credential of
            return UNVERIFIABLE
        refusal = self._verify(carrier, request)
        if refusal is not None:
            return refusal
        try:
            events = carrier.read(kind, request)
        except WireError as exc:
            text = str(exc)
            logger.warning("webhook.malformed carrier=%s kind=%s", name, kind)
            return problem(400, text if text in _COMPLAINTS else _COMPLAINT)
        reply: WebhookReply | None = None
        for event in events:
            reply = self._handle(carrier, kind, event) or reply
        return carrier.acknowledge(kind) if reply is None else reply

    def _verify(self, carrier: Carrier, request: WebhookRequest) -> WebhookReply | None:
        verdict = carrier.verify(request, host=self._settings.signed_host, now=self._clocks.unix())
        match verdict:
            case Verdict.GENUINE:
                return None
            case Verdict.UNSIGNABLE if self._settings.require_signature:
                logger.error("webhook.unverifiable carrier=%s", carrier.name)
                return UNVERIFIABLE
            case Verdict.UNSIGNABLE:
                self._warn_once(carrier.name)
                return None
            case Verdict.FORGED | Verdict.STALE:
                logger.warning("webhook.refused carrier=%s reason=%s", carrier.name, verdict.value)
                return _FORGED

    def _warn_once(self, name: str) -> None:
        if name not in self._warned_of:
            self._warned_of.add(name)
            logger.warning(
                "webhook.unsigned carrier=%s: anybody can send these; set the key that the carrier"
                " signs with",
                name,
            )

    def _handle(self, carrier: Carrier, kind: str, event: WebhookEvent) -> WebhookReply | None:
        """Act on one event, once. A repeated arrival is answered again: the first answer may be lost."""
        if isinstance(event, CallArrived):
            stream = self._switchboard.ring(carrier, event)
            return carrier.reject_busy() if stream is None else carrier.connect(stream)
        if isinstance(event, TransferOver):
            back = self._switchboard.take_back(carrier, event)
            return None if back is None else carrier.connect(back)
        if isinstance(event, DocumentAsked):
            return self._switchboard.fetch(event.reference)
        delivery = f"{carrier.name}:{kind}:{event.delivery}" if event.delivery else ""
        if delivery and not self._deliveries.is_new(delivery, now=self._clocks.now()):
            logger.info("webhook.repeated carrier=%s kind=%s", carrier.name, kind)
            return None
        try:
            self._switchboard.note(carrier, event)
        except Exception:
            self._deliveries.forget(delivery)
            raise
        return None
