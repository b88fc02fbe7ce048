"""A warm transfer by Plivo: caller and target meet in a conference, by documents that Plivo fetches.

Protocol: https://www.plivo.com/docs/voice/xml/conference. The caller waits in silence until the target has heard the
summary and comes in; whoever leaves ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from getpatter.carriers import _plivo_forms as forms
from getpatter.carriers.base import Keep, Warm
from getpatter.net.messages import Exchange, WebhookReply

RINGS_S: Final = 30
_LONGEST_SUMMARY: Final = 3000
_DETECTION_MS: Final = 5000

Redirect = Callable[[str, WebhookReply, str, Keep], Exchange[None]]
"""Let a call follow a document."""
Place = Callable[[Mapping[str, object]], Exchange[str]]
"""Place a call; returns the id of the request."""


@dataclass(frozen=True, slots=True)
class WarmTransfer:
    """The requests of one warm transfer."""

    order: Warm
    keep: Keep
    redirect: Redirect
    place: Place

    def hold(self) -> Exchange[None]:
        """Send the caller into the conference. Raises `PatterConfigError` when the target cannot be told."""
        order = self.order
        for number in (order.to, order.from_number):
            forms.bare(number)
        if len(order.summary) > _LONGEST_SUMMARY:
            raise forms.invalid(f"a summary of {len(order.summary)} characters; Plivo speaks 3000")
        told = forms.hook(order.host, "transfer")
        room = self._room(
            startConferenceOnEnter="false", endConferenceOnExit="true", action=told, method="POST"
        )
        yield from self.redirect(order.call_id, forms.reply(room), order.host, self.keep)

    def call_target(self) -> Exchange[str]:
        """Ring the target, listening for machines; it hears the summary and enters the conference."""
        order = self.order
        verbs = [self._room(startConferenceOnEnter="true", endConferenceOnExit="true")]
        if order.summary:
            verbs.insert(0, forms.speak(order.summary, order.language))
        document = self.keep(forms.reply(*verbs))
        told = forms.hook(order.host, "status", ref=order.reference)
        return (
            yield from self.place(
                {
                    "from": forms.bare(order.from_number),
                    "to": forms.bare(order.to),
                    "answer_url": forms.hook(order.host, "transfer", ref=document),
                    "answer_method": "POST",
                    "hangup_url": told,
                    "hangup_method": "POST",
                    "ring_url": told,
                    "ring_method": "POST",
                    "ring_timeout": RINGS_S,
                    "time_limit": order.time_limit,
                    "machine_detection": "true",
                    "machine_detection_time": _DETECTION_MS,
                    "machine_detection_url": forms.hook(order.host, "amd", ref=order.reference),
                    "machine_detection_method": "POST",
                }
            )
        )

    def brief(self, target_id: str) -> None:
        """Nothing: the target's document says it."""

    def join(self, target_id: str) -> None:
        """Nothing: the target's document leads into the conference."""

    def resume(self) -> None:
        """Nothing: a new document ends the waiting."""

    def _room(self, **attributes: str) -> ET.Element:
        told = forms.hook(self.order.host, "transfer")
        return forms.element(
            "Conference",
            self.order.room,
            **attributes,
            callbackUrl=told,
            callbackMethod="POST",
        )
