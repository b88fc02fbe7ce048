"""Conferences of the simulated Plivo: who waits, who talks, when they begin and end, and what is reported of it.

Protocol: https://www.plivo.com/docs/voice/xml/conference
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final
from xml.etree import ElementTree as ET

Tell = Callable[[str, Mapping[str, str]], None]
"""Have the conference's callback sent to a URL."""

_NAMES: Final = """
muted enterSound exitSound startConferenceOnEnter endConferenceOnExit stayAlone waitSound maxMembers timeLimit
hangupOnStar action method callbackUrl callbackMethod digitsMatch floorEvent redirect record recordFileFormat
transcriptionType transcriptionUrl transcriptionMethod relayDTMF
"""
ATTRIBUTES: Final = frozenset(_NAMES.split())
"""What the verb may say."""


class Room:
    """One conference, by its name."""

    def __init__(self, name: str, room_id: str) -> None:
        """Nobody is in it."""
        self.name = name
        self.id = room_id
        self.has_started = False
        self.is_over = False
        self.members: list[str] = []
        """Ids of the calls that are in it."""
        self._ended = asyncio.Event()
        self._began = asyncio.Event()
        self._serial = 0

    async def stay(self, call_id: str, verb: ET.Element, tell: Tell) -> None:
        """Be in the conference until it ends; cancelled, the member leaves."""
        ends = verb.get("endConferenceOnExit") == "true"
        self._serial += 1
        facts = {
            "ConferenceName": self.name,
            "ConferenceUUID": self.id,
            "ConferenceMemberID": str(self._serial),
        }
        url = verb.get("callbackUrl", "")
        self.members.append(call_id)
        tell(url, {**facts, "ConferenceAction": "enter", "Event": "ConferenceEnter"})
        if verb.get("startConferenceOnEnter", "true") == "true":
            self.has_started = True
            self._began.set()
        try:
            await self._ended.wait()
        finally:
            self.members.remove(call_id)
            tell(url, {**facts, "ConferenceAction": "exit", "Event": "ConferenceExit"})
            if ends or not self.members:
                self.is_over = True
                self._ended.set()

    async def started(self) -> None:
        """Wait until people in it hear each other."""
        await self._began.wait()


class Rooms:
    """The conferences of one account."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        """None yet."""
        self.made: list[Room] = []
        self._new_id = new_id

    def room(self, name: str) -> Room:
        """The conference of this name that is running, or a new one."""
        for room in self.made:
            if room.name == name and not room.is_over:
                return room
        self.made.append(Room(name, self._new_id()))
        return self.made[-1]
