"""The caller's side of a call with an engine: two witnesses of their voice, and their words, which come late.

Our own detector hears the voice first; the engine is the one that answers it. So a voice that only we hear counts
where the agent speaks or owes words, and elsewhere the engine decides whether somebody has spoken.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from getpatter.core import messages as m
from getpatter.core.conversation import Conversation
from getpatter.core.minutes import Entry, Minutes
from getpatter.core.turns import Floor, Turn
from getpatter.types import Instant

_COUNTS: Final = frozenset({Floor.THINKING, Floor.DOUBT, Floor.AGENT, Floor.OVERLAP, Floor.CLOSING})
"""Where a voice that only our own detector hears is an event of the floor."""
_LISTENS: Final = frozenset({Floor.OPEN, Floor.CALLER, Floor.PAUSE})
OWED_AFTER: Final = 1.5
"""Silence after which words that the engine has written down are owed an answer."""


class EngineCaller:
    """Who speaks on the caller's side, and what they said. Each method returns what it does to the floor."""

    def __init__(self, talk: Conversation, minutes: Minutes, *, stops_itself: bool) -> None:
        """Begin in silence. `stops_itself`: the engine stops its reply when it hears a voice."""
        self.is_unanswered = False
        """Whether a turn was taken that no reply was begun for."""
        self.engine_hears: str | None = None
        """The item that the engine hears at the moment."""
        self._talk = talk
        self._minutes = minutes
        self._stops_itself = stops_itself
        self._own_voice = False
        self._waiting: dict[str, Entry] = {}
        """Turns whose words have not come."""
        self._early: dict[str, str] = {}
        """Words whose turns have not come."""
        self._coming = ("", "")
        """A turn that has not come, and its words so far."""
        self._presumed = ""
        """A turn that was entered before the engine said that it took it."""
        self._retold = ""
        """The last of those."""
        self._keys = ""
        self._key_at = talk.sound_at

    @property
    def is_heard(self) -> bool:
        """Whether anybody hears a voice now."""
        return self._own_voice or self.engine_hears is not None

    # ---------------------------------------------------------------------------------------- voice

    def began(self, onset: Instant, now: Instant) -> tuple[Turn, ...]:
        """Our own detector hears a voice."""
        talk = self._talk
        self._own_voice = True
        talk.voice_began = onset
        talk.sound_at = now
        if self.engine_hears is None:
            talk.report_voice(onset)
        if talk.floor not in _COUNTS:
            return ()
        if talk.barge_in.is_reached:
            return (Turn.CALLER_STARTED, Turn.SUSTAINED)
        return (Turn.CALLER_STARTED,)

    def ended(self, last: Instant, now: Instant) -> tuple[Turn, ...]:
        """Our own detector hears none any more."""
        self._own_voice = False
        self._talk.voice_ended = last
        self._talk.sound_at = now
        if self.engine_hears is not None:
            return ()
        self._talk.report_silence(last)
        return (Turn.CALLER_STOPPED,)

    def engine_heard(self, item: str, onset: Instant, now: Instant) -> tuple[Turn, ...]:
        """The engine hears a voice."""
        talk = self._talk
        if not self.is_heard:
            talk.report_voice(onset)
        self.engine_hears = item
        if not self._own_voice:
            talk.voice_began = onset
        talk.sound_at = now
        if self._stops_itself and talk.manners.barge_in_threshold_ms > 0:
            # The engine has stopped its reply: what is left of it must not be heard.
            return (Turn.CALLER_STARTED, Turn.SUSTAINED)
        return (Turn.CALLER_STARTED,)

    def engine_heard_pause(self, last: Instant, now: Instant) -> tuple[Turn, ...]:
        """The engine hears none any more."""
        talk = self._talk
        if not self._own_voice:
            talk.report_silence(last)
            talk.voice_ended = last
        elif talk.voice_ended is None or talk.voice_ended < last:
            talk.voice_ended = last
        talk.sound_at = now
        return (Turn.CALLER_STOPPED,)

    @property
    def sustained_due(self) -> Instant | None:
        """When a voice that the engine hears is an interruption, where it leaves that to us."""
        talk = self._talk
        threshold, began = talk.manners.barge_in_threshold_ms, talk.voice_began
        if self.engine_hears is None or began is None or threshold <= 0:
            return None
        if talk.floor not in {Floor.DOUBT, Floor.OVERLAP}:
            return None
        return Instant(began + threshold / 1000)

    # ---------------------------------------------------------------------------------------- words

    def took_turn(self, item: str, turn_index: int, now: Instant) -> tuple[Turn, ...]:
        """The engine takes what it heard for a whole turn."""
        self.engine_hears = None
        self._coming = ("", "")
        is_known, self._presumed = item == self._presumed, ""
        if is_known and self._talk.floor in {Floor.THINKING, Floor.DOUBT}:
            return ()
        self._enter(item, self._early.pop(item, None), turn_index, now)
        return (Turn.TURN_ENDED,)

    @property
    def owed_due(self) -> Instant | None:
        """When words that the engine has written down are a turn, though it does not say that they are."""
        if not self._coming[0] or self.is_heard or self._talk.floor not in _LISTENS:
            return None
        return Instant(self._talk.sound_at + OWED_AFTER)

    def presume(self, turn_index: int, now: Instant) -> tuple[Turn, ...]:
        """The caller has stopped, and their words are there: the engine owes an answer, whatever it says."""
        (item, text), self._coming = self._coming, ("", "")
        self._enter(item, None, turn_index, now)
        self._waiting[item].text = text
        self._presumed = self._retold = item
        return (Turn.TURN_ENDED,)

    def _enter(self, item: str, text: str | None, turn_index: int, now: Instant) -> None:
        entry = self._minutes.user(turn_index, now)
        if text is not None:
            entry.text, entry.is_settled = text, True
        self._waiting[item] = entry
        self.is_unanswered = True

    def transcribed(self, said: m.EngineTranscribed, now: Instant) -> None:
        """Words of a turn, of one to come, or of one told long ago."""
        talk = self._talk
        talk.sound_at = now
        entry = self._waiting.get(said.item)
        if entry is None:
            if said.is_final:
                self._early[said.item] = said.text.strip()
            elif said.text:
                self._coming = (said.item, said.text.strip())
                talk.out.append(m.ReportPartial(said.text.strip()))
            return
        if not said.is_final:
            # Until a turn is taken, and then once more, all of its words come again.
            is_all = said.item == self._retold and said.text.startswith(entry.text)
            entry.text = said.text if is_all else entry.text + said.text
            talk.out.append(m.ReportPartial(entry.text.strip()))
            return
        is_told, told = entry not in self._minutes.pending, entry.text.strip()
        entry.text, entry.is_settled = said.text.strip(), True
        del self._waiting[said.item]
        if is_told and entry.text:
            self._amend(entry, told)

    def _amend(self, entry: Entry, told: str) -> None:
        """Words that came after their turn was told without them: the record at the end has them."""
        lines = self._talk.history.lines
        for index, line in enumerate(lines):
            if (
                line.role == "user"
                and line.turn_index == entry.turn_index
                and line.text in {"", told}
            ):
                lines[index] = replace(line, text=entry.text)
                return

    # ----------------------------------------------------------------------------------------- keys

    def pressed(self, digit: str, now: Instant) -> tuple[Turn, ...]:
        """The caller pressed a key."""
        self._keys, self._key_at = self._keys + digit, now
        self._talk.sound_at = now
        return (Turn.KEY_PRESSED,)

    @property
    def keys_due(self) -> Instant | None:
        """When the keys so far are one entry."""
        if not self._keys or self._talk.floor is Floor.OPENING:
            return None
        return Instant(self._key_at + self._talk.manners.patience.key_gap)

    def take_keys(self, turn_index: int, now: Instant) -> tuple[Turn, ...]:
        """The entry, once it is complete: a turn of its own, which the engine must be told."""
        due = self.keys_due
        if due is None or not (self._keys.endswith("#") or now >= due):
            return ()
        text, self._keys = f"[DTMF: {self._keys}]", ""
        return self._tell_engine(f"keys {now}", text, turn_index, now)

    def came_back(self, note: str, turn_index: int, now: Instant) -> tuple[Turn, ...]:
        """The caller is here again: a turn of its own, which the engine must be told. Nobody is heard yet."""
        self.engine_hears, self._own_voice = None, False
        self._coming = ("", "")
        return self._tell_engine(f"back {now}", note, turn_index, now)

    def _tell_engine(self, item: str, text: str, turn_index: int, now: Instant) -> tuple[Turn, ...]:
        self._enter(item, text, turn_index, now)
        self._talk.out.append(m.TellEngine(text))
        return (Turn.TURN_ENDED,)
