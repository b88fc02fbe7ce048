"""Who has the floor: every state, every event, one table.

The rules of this file are two. Everything that decides whose turn it is lives here, and every pair of state
and event is decided: it is in `TABLE`, or it is in `IGNORED`, never in both and never in neither. The
drawing `docs/explanation/turns.svg` is made from these tables, so it cannot differ from them.

What the caller's words were, how long a pause must last and what has been heard is decided elsewhere
(`endpointing.py`, `barge_in.py`, `playout.py`); here it arrives as an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from getpatter.types import Instant


class Floor(Enum):
    """Who may speak, and what everybody is waiting for."""

    OPENING = "opening"
    """The stream is up; the call is still being configured, nobody is answered yet."""
    OPEN = "open"
    """Nobody speaks and nothing is owed."""
    CALLER = "caller"
    """The caller speaks."""
    PAUSE = "pause"
    """The caller fell silent; perhaps they have finished."""
    THINKING = "thinking"
    """The agent owes words, and has none to say yet, or no more."""
    DOUBT = "doubt"
    """As `THINKING`, and the caller makes a sound: a cough, or more to say?"""
    AGENT = "agent"
    """The agent speaks."""
    OVERLAP = "overlap"
    """Both speak: a cough, or an interruption?"""
    HELD = "held"
    """The agent has stopped in mid-word for a voice; does the caller mean to take the floor?"""
    SILENCED = "silenced"
    """A machine listens: turn taking is off."""
    CLOSING = "closing"
    """The last words are being played, then the call ends."""
    AWAY = "away"
    """The caller is with somebody else, and may come back: a transfer is under way."""
    CLOSED = "closed"
    """The call is over."""


class Turn(Enum):
    """What can happen to the floor."""

    OPENED = "opened"
    """The call is configured."""
    CALLER_STARTED = "caller started"
    CALLER_STOPPED = "caller stopped"
    SUSTAINED = "sustained"
    """The caller has spoken over the agent for long enough to mean it."""
    SUSPECTED = "suspected"
    """The same, where only words can confirm that they mean it."""
    CONFIRMED = "confirmed"
    """Words show that the caller means to interrupt."""
    TURN_ENDED = "turn ended"
    """The caller's words are complete."""
    TURN_EMPTY = "turn empty"
    """The caller made a sound, and no words came of it."""
    REPLY_OWED = "reply owed"
    """The agent will speak unasked: a greeting, a reminder."""
    AGENT_STARTED = "agent started"
    """The first audio of a reply was sent."""
    AGENT_PAUSED = "agent paused"
    """What there was of a reply has been heard, and the rest is not there yet: a tool takes its time."""
    REPLY_OVER = "reply over"
    """The last of a reply was heard, or there was nothing to say."""
    KEY_PRESSED = "key pressed"
    MACHINE_FOUND = "machine found"
    CLOSE_ASKED = "close asked"
    """Somebody on our side wants the call to end, once the last words were heard."""
    ALARM = "alarm"
    """The state has lasted as long as it may."""
    HANDED_OVER = "handed over"
    """The stream is over, and the call is not: the carrier connects the caller to somebody else."""
    CAME_BACK = "came back"
    """Nobody took the call: the caller is here again, on a new stream."""
    GONE = "gone"
    """The stream is over, whatever the reason."""


class Act(Enum):
    """What to do about it; carried out by the session, in the order of the table."""

    ANSWER = "answer"
    """Commit the caller's words and ask for a reply."""
    CUT = "cut"
    """Drop the reply that is being made or played; keep what was heard of it."""
    ASK_FINAL = "ask final"
    """Tell the recogniser that this was it."""
    CARRY_ON = "carry on"
    """If a false alarm cut a reply, say what is left of it."""
    RECONSIDER = "reconsider"
    """The agent has finished: were there words meanwhile?"""
    REASSURE = "reassure"
    """The reply takes long: say so."""
    HOLD = "hold"
    """Stop the sound, and keep what was not heard."""
    RESUME = "resume"
    """Go on from where it stopped."""
    LEAVE = "leave"
    """Let go of the stream."""
    HANG_UP = "hang up"
    REPORT_END = "report end"


Cell = tuple[Floor, tuple[Act, ...]]

_ENDS: Final[Mapping[Turn, Cell]] = {
    Turn.CLOSE_ASKED: (Floor.CLOSING, ()),
    Turn.HANDED_OVER: (Floor.AWAY, (Act.CUT, Act.LEAVE)),
    Turn.GONE: (Floor.CLOSED, (Act.CUT, Act.REPORT_END)),
}
_MACHINE: Final[Mapping[Turn, Cell]] = {Turn.MACHINE_FOUND: (Floor.SILENCED, (Act.CUT,))}


def _rows(floor: Floor, *rows: Mapping[Turn, Cell]) -> dict[tuple[Floor, Turn], Cell]:
    return {(floor, event): cell for row in rows for event, cell in row.items()}


TABLE: Final[Mapping[tuple[Floor, Turn], Cell]] = {
    **_rows(
        Floor.OPENING,
        {
            Turn.OPENED: (Floor.OPEN, ()),
            Turn.CALLER_STOPPED: (Floor.OPENING, (Act.ASK_FINAL,)),
        },
        _MACHINE,
        _ENDS,
    ),
    **_rows(
        Floor.OPEN,
        {
            Turn.CALLER_STARTED: (Floor.CALLER, ()),
            # They began before the floor was open, or under the end of a reply.
            Turn.CALLER_STOPPED: (Floor.OPEN, (Act.ASK_FINAL,)),
            Turn.TURN_ENDED: (Floor.THINKING, (Act.ANSWER,)),
            Turn.REPLY_OWED: (Floor.THINKING, ()),
        },
        _MACHINE,
        _ENDS,
    ),
    **_rows(
        Floor.CALLER,
        {
            Turn.CALLER_STOPPED: (Floor.PAUSE, (Act.ASK_FINAL,)),
            Turn.TURN_ENDED: (Floor.THINKING, (Act.ANSWER,)),
            # A sound that goes on and on and never becomes words is the line, not the caller.
            Turn.TURN_EMPTY: (Floor.OPEN, (Act.CARRY_ON,)),
        },
        _MACHINE,
        _ENDS,
    ),
    **_rows(
        Floor.PAUSE,
        {
            Turn.CALLER_STARTED: (Floor.CALLER, ()),
            Turn.CALLER_STOPPED: (Floor.PAUSE, (Act.ASK_FINAL,)),
            Turn.TURN_ENDED: (Floor.THINKING, (Act.ANSWER,)),
            Turn.TURN_EMPTY: (Floor.OPEN, (Act.CARRY_ON,)),
        },
        _MACHINE,
        _ENDS,
    ),
    **_rows(
        Floor.THINKING,
        {
            Turn.CALLER_STARTED: (Floor.DOUBT, ()),
            Turn.CALLER_STOPPED: (Floor.THINKING, (Act.ASK_FINAL,)),
            Turn.TURN_ENDED: (Floor.THINKING, (Act.CUT, Act.ANSWER)),
            Turn.AGENT_STARTED: (Floor.AGENT, ()),
            Turn.REPLY_OVER: (Floor.OPEN, (Act.RECONSIDER,)),
            Turn.KEY_PRESSED: (Floor.OPEN, (Act.CUT,)),
            Turn.ALARM: (Floor.THINKING, (Act.REASSURE,)),
        },
        _MACHINE,
        _ENDS,
    ),
    **_rows(
        Floor.DOUBT,
        {
            Turn.CALLER_STOPPED: (Floor.THINKING, (Act.ASK_FINAL,)),
            Turn.SUSTAINED: (Floor.CALLER, (Act.CUT,)),
            Turn.TURN_ENDED: (Floor.THINKING, (Act.CUT, Act.ANSWER)),
            Turn.AGENT_STARTED: (Floor.OVERLAP, ()),
            Turn.REPLY_OVER: (Floor.CALLER, ()),
            Turn.KEY_PRESSED: (Floor.CALLER, (Act.CUT,)),
            Turn.ALARM: (Floor.DOUBT, (Act.REASSURE,)),
        },
        _MACHINE,
        _ENDS,
    ),
    **_rows(
        Floor.AGENT,
        {
            Turn.CALLER_STARTED: (Floor.OVERLAP, ()),
            Turn.CALLER_STOPPED: (Floor.AGENT, (Act.ASK_FINAL,)),
            Turn.SUSTAINED: (Floor.PAUSE, (Act.CUT,)),
            Turn.SUSPECTED: (Floor.HELD, (Act.HOLD,)),
            Turn.CONFIRMED: (Floor.PAUSE, (Act.CUT,)),
            Turn.AGENT_PAUSED: (Floor.THINKING, ()),
            Turn.REPLY_OVER: (Floor.OPEN, (Act.RECONSIDER,)),
            Turn.KEY_PRESSED: (Floor.OPEN, (Act.CUT,)),
        },
        _MACHINE,
        _ENDS,
    ),
    **_rows(
        Floor.OVERLAP,
        {
            Turn.CALLER_STOPPED: (Floor.AGENT, (Act.ASK_FINAL,)),
            Turn.SUSTAINED: (Floor.CALLER, (Act.CUT,)),
            Turn.SUSPECTED: (Floor.HELD, (Act.HOLD,)),
            Turn.CONFIRMED: (Floor.CALLER, (Act.CUT,)),
            Turn.AGENT_PAUSED: (Floor.DOUBT, ()),
            Turn.REPLY_OVER: (Floor.CALLER, ()),
            Turn.KEY_PRESSED: (Floor.CALLER, (Act.CUT,)),
        },
        _MACHINE,
        _ENDS,
    ),
    **_rows(
        Floor.HELD,
        {
            Turn.CALLER_STOPPED: (Floor.HELD, (Act.ASK_FINAL,)),
            Turn.CONFIRMED: (Floor.PAUSE, (Act.CUT,)),
            Turn.ALARM: (Floor.AGENT, (Act.RESUME,)),
            # There was nothing left to hold back.
            Turn.REPLY_OVER: (Floor.PAUSE, (Act.RESUME, Act.RECONSIDER)),
            Turn.KEY_PRESSED: (Floor.OPEN, (Act.CUT,)),
            Turn.CLOSE_ASKED: (Floor.CLOSING, (Act.RESUME,)),
            Turn.HANDED_OVER: (Floor.AWAY, (Act.CUT, Act.LEAVE)),
            Turn.GONE: (Floor.CLOSED, (Act.CUT, Act.REPORT_END)),
        },
        _MACHINE,
    ),
    **_rows(Floor.SILENCED, _ENDS),
    **_rows(
        Floor.CLOSING,
        {
            Turn.REPLY_OVER: (Floor.CLOSED, (Act.HANG_UP,)),
            Turn.SUSTAINED: (Floor.CLOSED, (Act.CUT, Act.HANG_UP)),
            Turn.ALARM: (Floor.CLOSED, (Act.CUT, Act.HANG_UP)),
            Turn.HANDED_OVER: (Floor.AWAY, (Act.CUT, Act.LEAVE)),
            Turn.GONE: (Floor.CLOSED, (Act.CUT, Act.REPORT_END)),
        },
    ),
    **_rows(
        Floor.AWAY,
        {
            Turn.CAME_BACK: (Floor.OPEN, ()),
            Turn.GONE: (Floor.CLOSED, (Act.REPORT_END,)),
        },
    ),
    (Floor.CLOSED, Turn.GONE): (Floor.CLOSED, (Act.REPORT_END,)),
}
"""Where each event leads from each state, and what is to be done on the way."""

IGNORED: Final[Mapping[Floor, frozenset[Turn]]] = {
    floor: frozenset(events)
    for floor, events in {
        # Words that arrive before the greeting are kept by the endpointing and answered after it.
        Floor.OPENING: (
            Turn.CAME_BACK,
            Turn.SUSPECTED,
            Turn.CONFIRMED,
            Turn.CALLER_STARTED,
            Turn.SUSTAINED,
            Turn.TURN_ENDED,
            Turn.TURN_EMPTY,
            Turn.REPLY_OWED,
            Turn.AGENT_STARTED,
            Turn.AGENT_PAUSED,
            Turn.REPLY_OVER,
            Turn.KEY_PRESSED,
            Turn.ALARM,
        ),
        Floor.OPEN: (
            Turn.CAME_BACK,
            Turn.SUSPECTED,
            Turn.CONFIRMED,
            Turn.OPENED,
            Turn.AGENT_PAUSED,
            Turn.SUSTAINED,
            Turn.TURN_EMPTY,
            Turn.AGENT_STARTED,
            Turn.REPLY_OVER,
            Turn.KEY_PRESSED,
            Turn.ALARM,
        ),
        # Nobody starts a reminder while the caller speaks.
        Floor.CALLER: (
            Turn.CAME_BACK,
            Turn.SUSPECTED,
            Turn.CONFIRMED,
            Turn.OPENED,
            Turn.AGENT_PAUSED,
            Turn.CALLER_STARTED,
            Turn.SUSTAINED,
            Turn.REPLY_OWED,
            Turn.AGENT_STARTED,
            Turn.REPLY_OVER,
            Turn.KEY_PRESSED,
            Turn.ALARM,
        ),
        Floor.PAUSE: (
            Turn.CAME_BACK,
            Turn.SUSPECTED,
            Turn.CONFIRMED,
            Turn.OPENED,
            Turn.AGENT_PAUSED,
            Turn.SUSTAINED,
            Turn.REPLY_OWED,
            Turn.AGENT_STARTED,
            Turn.REPLY_OVER,
            Turn.KEY_PRESSED,
            Turn.ALARM,
        ),
        Floor.THINKING: (
            Turn.CAME_BACK,
            Turn.SUSPECTED,
            Turn.CONFIRMED,
            Turn.OPENED,
            Turn.AGENT_PAUSED,
            Turn.SUSTAINED,
            Turn.TURN_EMPTY,
            Turn.REPLY_OWED,
        ),
        Floor.DOUBT: (
            Turn.CAME_BACK,
            Turn.SUSPECTED,
            Turn.CONFIRMED,
            Turn.OPENED,
            Turn.AGENT_PAUSED,
            Turn.CALLER_STARTED,
            Turn.TURN_EMPTY,
            Turn.REPLY_OWED,
        ),
        # Words said under the agent that did not interrupt it wait until it has finished.
        Floor.AGENT: (
            Turn.CAME_BACK,
            Turn.OPENED,
            Turn.TURN_ENDED,
            Turn.TURN_EMPTY,
            Turn.REPLY_OWED,
            Turn.AGENT_STARTED,
            Turn.ALARM,
        ),
        Floor.OVERLAP: (
            Turn.CAME_BACK,
            Turn.OPENED,
            Turn.CALLER_STARTED,
            Turn.TURN_ENDED,
            Turn.TURN_EMPTY,
            Turn.REPLY_OWED,
            Turn.AGENT_STARTED,
            Turn.ALARM,
        ),
        # Words wait: either they confirm, or they are answered when the agent has finished.
        Floor.HELD: (
            Turn.CAME_BACK,
            Turn.OPENED,
            Turn.CALLER_STARTED,
            Turn.SUSTAINED,
            Turn.SUSPECTED,
            Turn.TURN_ENDED,
            Turn.TURN_EMPTY,
            Turn.REPLY_OWED,
            Turn.AGENT_STARTED,
            Turn.AGENT_PAUSED,
        ),
        Floor.SILENCED: set(Turn) - {Turn.CLOSE_ASKED, Turn.HANDED_OVER, Turn.GONE},
        # "Bye!" over our goodbye is no reason to cut it short; only sustained speech is.
        Floor.CLOSING: (
            Turn.CAME_BACK,
            Turn.OPENED,
            Turn.SUSPECTED,
            Turn.CONFIRMED,
            Turn.AGENT_PAUSED,
            Turn.CALLER_STARTED,
            Turn.CALLER_STOPPED,
            Turn.TURN_ENDED,
            Turn.TURN_EMPTY,
            Turn.REPLY_OWED,
            Turn.AGENT_STARTED,
            Turn.KEY_PRESSED,
            Turn.MACHINE_FOUND,
            Turn.CLOSE_ASKED,
        ),
        # Who ends a call whose caller is elsewhere asks the carrier, not the conversation.
        Floor.AWAY: set(Turn) - {Turn.CAME_BACK, Turn.GONE},
        Floor.CLOSED: set(Turn) - {Turn.GONE},
    }.items()
}
"""What changes nothing, and is meant to."""

LISTENING: Final = frozenset({Floor.OPEN, Floor.CALLER, Floor.PAUSE, Floor.THINKING, Floor.DOUBT})
"""States in which complete words of the caller are acted upon at once."""
AUDIBLE: Final = frozenset({Floor.AGENT, Floor.OVERLAP, Floor.CLOSING})
"""States in which the agent may be heard."""
WAITING: Final = frozenset({Floor.THINKING, Floor.DOUBT, Floor.HELD, Floor.CLOSING})
"""States that must not last: each has an alarm."""


_REPLYING: Final = frozenset({Floor.THINKING, Floor.DOUBT, Floor.AGENT, Floor.OVERLAP, Floor.HELD})


@dataclass(slots=True)
class TurnTable:
    """The floor of one call. It is told events with their instants and answers with acts."""

    reassure_after: float
    """Seconds the agent may owe words before the caller is told so (the dead-air watchdog)."""
    again_after: float = 8.0
    """The same, once they were told so."""
    closing_bound: float = 10.0
    """Seconds the last words may take."""
    confirm_within: float = 1.5
    """Seconds until an interruption that nothing confirms was none."""
    floor: Floor = Floor.OPENING
    since: Instant = Instant(0.0)
    deadline: Instant | None = None
    _is_told: bool = False
    """Whether the caller was told already that the present reply takes its time."""

    def handle(self, event: Turn, now: Instant) -> tuple[Act, ...]:
        """Move to the next state. An ignored event changes nothing and asks for nothing."""
        cell = TABLE.get((self.floor, event))
        if cell is None:
            return ()
        floor, acts = cell
        owed = {Floor.THINKING, Floor.DOUBT}
        if event is Turn.ALARM:
            self._is_told = True
        elif event is Turn.TURN_ENDED or floor not in _REPLYING:
            self._is_told = False
        if floor is not self.floor or event in {Turn.ALARM, Turn.TURN_ENDED}:
            # A cough while the agent thinks does not restart the clock of the silence.
            keeps_clock = floor in owed and self.floor in owed and event is not Turn.TURN_ENDED
            if not keeps_clock or event is Turn.ALARM:
                self.deadline = self._alarm(floor, now)
            self.floor = floor
            self.since = now
        return acts

    def _alarm(self, floor: Floor, now: Instant) -> Instant | None:
        if floor is Floor.CLOSING:
            return Instant(now + self.closing_bound)
        if floor is Floor.HELD:
            return Instant(now + self.confirm_within)
        if floor in WAITING:
            return Instant(now + (self.again_after if self._is_told else self.reassure_after))
        return None
