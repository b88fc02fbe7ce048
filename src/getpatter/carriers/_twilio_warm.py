"""A warm transfer by Twilio: caller and target meet in a conference.

Protocol: https://www.twilio.com/docs/voice/twiml/conference. The caller waits there, with Twilio's hold music, until
the target has heard the summary and comes in; whoever leaves ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

from getpatter.carriers import _twilio_forms as forms
from getpatter.carriers.base import Warm
from getpatter.net.messages import Exchange

RINGS_S: Final = 30

Redirect = Callable[[str, str], Exchange[None]]
"""Let a call follow a document."""
Place = Callable[[Sequence[tuple[str, str]]], Exchange[str]]
"""Place a call; returns its id."""


@dataclass(frozen=True, slots=True)
class WarmTransfer:
    """The requests of one warm transfer."""

    order: Warm
    redirect: Redirect
    place: Place

    def hold(self) -> Exchange[None]:
        """Send the caller into the conference. Raises `PatterConfigError` when the target cannot be told."""
        order = self.order
        forms.check_target(order.to)
        forms.check_number(order.from_number)
        self._briefing()
        after = f"{forms.hook(order.host, 'transfer')}?{urlencode({'call': order.call_id})}"
        verb = forms.element("Dial", action=after)
        room = self._room(
            startConferenceOnEnter="false",
            endConferenceOnExit="true",
            statusCallback=forms.hook(order.host, "conference"),
            statusCallbackEvent="start join leave end",
        )
        verb.append(room)
        yield from self.redirect(order.call_id, forms.inline(verb))

    def call_target(self) -> Exchange[str]:
        """Ring the target, listening for machines; it hears the summary and enters the conference."""
        order = self.order
        return (
            yield from self.place(
                [
                    ("To", order.to),
                    ("From", order.from_number),
                    ("Twiml", self._briefing()),
                    ("Timeout", str(RINGS_S)),
                    ("TimeLimit", str(order.time_limit)),
                    ("StatusCallback", forms.hook(order.host, "status")),
                    ("StatusCallbackMethod", "POST"),
                    ("StatusCallbackEvent", "answered"),
                    ("StatusCallbackEvent", "completed"),
                    ("MachineDetection", "Enable"),
                    ("AsyncAmd", "true"),
                    ("AsyncAmdStatusCallback", forms.hook(order.host, "amd")),
                    ("AsyncAmdStatusCallbackMethod", "POST"),
                ]
            )
        )

    def brief(self, target_id: str) -> None:
        """Nothing: the target's document says it."""

    def join(self, target_id: str) -> None:
        """Nothing: the target's document leads into the conference."""

    def resume(self) -> None:
        """Nothing: a new document ends the waiting."""

    def _briefing(self) -> str:
        verb = forms.element("Dial")
        verb.append(self._room(startConferenceOnEnter="true", endConferenceOnExit="true"))
        if not self.order.summary:
            return forms.inline(verb)
        return forms.inline(forms.say(self.order.summary, self.order.language), verb)

    def _room(self, **attributes: str) -> ET.Element:
        room = forms.element("Conference", **attributes)
        room.text = self.order.room
        return room
