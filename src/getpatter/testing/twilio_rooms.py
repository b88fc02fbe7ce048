"""Conferences of the simulated Twilio: who waits, who talks, when they begin and end, and what is reported of it.

Protocol: https://www.twilio.com/docs/voice/twiml/conference
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol
from xml.etree import ElementTree as ET

_EVENTS: Final = {
    "conference-start": "start",
    "conference-end": "end",
    "participant-join": "join",
    "participant-leave": "leave",
}


class Participant(Protocol):
    """A call, as far as a conference needs it."""

    sid: str

    def report_room(self, url: str, form: Mapping[str, str]) -> None:
        """Have a status callback of the conference sent."""
        ...


class Account(Protocol):
    """What a conference needs of its account."""

    account_sid: str

    def new_sid(self, prefix: str) -> str:
        """A fresh id."""
        ...

    def date(self) -> str:
        """Now, as RFC 2822 says it."""
        ...


class Room:
    """One conference, by its name. Its callback is that of the first participant who brings one."""

    def __init__(self, account: Account, name: str) -> None:
        """Nobody is in it."""
        self.name = name
        self.sid = account.new_sid("CF")
        self.has_started = False
        self.is_over = False
        self.participants: list[str] = []
        """Ids of the calls that are in it."""
        self._account = account
        self._url = ""
        self._events: frozenset[str] = frozenset()
        self._sequence = 0
        self._ended = asyncio.Event()
        self._began = asyncio.Event()

    async def stay(self, call: Participant, noun: ET.Element) -> None:
        """Be in the conference until it ends; cancelled, the participant leaves."""
        if noun.get("statusCallback") and not self._url:
            self._url = noun.get("statusCallback", "")
            self._events = frozenset(noun.get("statusCallbackEvent", "").split())
        ends = noun.get("endConferenceOnExit") == "true"
        starts = noun.get("startConferenceOnEnter", "true") == "true"
        self.participants.append(call.sid)
        self._report(call, "participant-join", starts=starts, ends=ends)
        if starts and not self.has_started:
            self.has_started = True
            self._began.set()
            self._report(call, "conference-start", starts=starts, ends=ends)
        try:
            await self._ended.wait()
        finally:
            self.participants.remove(call.sid)
            self._report(call, "participant-leave", starts=starts, ends=ends)
            if not self.is_over and (ends or not self.participants):
                self.is_over = True
                self._report(call, "conference-end", starts=starts, ends=ends)
                self._ended.set()

    async def started(self) -> None:
        """Wait until people in it hear each other."""
        await self._began.wait()

    def _report(self, call: Participant, event: str, *, starts: bool, ends: bool) -> None:
        if not self._url or _EVENTS[event] not in self._events:
            return
        self._sequence += 1
        form = {
            "ConferenceSid": self.sid,
            "FriendlyName": self.name,
            "AccountSid": self._account.account_sid,
            "SequenceNumber": str(self._sequence),
            "Timestamp": self._account.date(),
            "StatusCallbackEvent": event,
        }
        if event.startswith("participant"):
            form |= {
                "CallSid": call.sid,
                "Muted": "false",
                "Hold": "false",
                "Coaching": "false",
                "StartConferenceOnEnter": str(starts).lower(),
                "EndConferenceOnExit": str(ends).lower(),
            }
        call.report_room(self._url, form)
