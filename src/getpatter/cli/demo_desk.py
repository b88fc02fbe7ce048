"""The agent of `getpatter demo`: an appointment desk. Read it to see what an agent of yours looks like.

A recogniser that knows what may be said, a voice, and a function that answers: that is all there is to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from getpatter import Agent, CallControl, LocalSTT, LocalTTS, Patter

DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday")
REFUSALS: Final = frozenset({"no", "not", "wrong"})

MAY_BE_SAID: Final = """
    day = monday | tuesday | wednesday | thursday | friday
    [hello] (i would like to | i want to | i need to | can i) (book | change) (an | my) appointment [please]
    (book | change) (an | my) appointment [please]
    [on | how about | make it | make that] [next] <day> [please | instead | morning | afternoon]
    [in] [the] (morning | afternoon) [please]
    yes [please | that is (right | correct | fine)]
    that is (right | correct | fine)
    no [thank you | that is wrong | that is not right]
    what are your opening hours | when are you open
    [thank you] goodbye | thank you [very much]
"""

GREETING: Final = "Hello, this is the appointment desk. How can I help you?"
WHICH_DAY: Final = "Which day would you like?"
WHICH_HALF: Final = "Press 1 for the morning, or 2 for the afternoon."
HOURS: Final = (
    "We are open from nine in the morning until half past five in the afternoon from Monday to Thursday "
    "and on Friday we close at three and every day we are away between twelve and one for lunch."
)


@dataclass
class Visit:
    """What one caller has decided so far."""

    day: str = ""
    half: str = ""


class AppointmentDesk:
    """Books a day and a half of it, asks back, and says goodbye. Serves any number of calls at once."""

    def __init__(self) -> None:
        """No calls yet."""
        self._visits: dict[str, Visit] = {}

    async def on_message(self, message: dict[str, Any], call: CallControl) -> str:
        """Answer what the caller said; keys come as `[DTMF: 1]`."""
        text = message["text"].lower()
        visit = self._visits.setdefault(message["call_id"], Visit())
        day = next((day for day in DAYS if day in text), "")
        if "goodbye" in text or "thank you" in text:
            return await self._goodbye(call, "Goodbye!")
        if day:
            return self._choose_day(visit, day.capitalize())
        if visit.day and ("[dtmf: 1]" in text or "morning" in text):
            return self._choose_half(visit, "morning")
        if visit.day and ("[dtmf: 2]" in text or "afternoon" in text):
            return self._choose_half(visit, "afternoon")
        if "hours" in text or "open" in text:
            return HOURS
        if visit.half and not REFUSALS.intersection(text.split()):
            booked = f"You are booked for {visit.day} {visit.half}. Goodbye!"
            return await self._goodbye(call, booked)
        visit.day = visit.half = ""
        return WHICH_DAY

    def _choose_day(self, visit: Visit, day: str) -> str:
        is_first, visit.day = not visit.day, day
        if is_first:
            return f"{day} it is. {HOURS} {WHICH_HALF}"
        return f"{day} then. {WHICH_HALF}"

    def _choose_half(self, visit: Visit, half: str) -> str:
        visit.half = half
        return f"{visit.day} {half}. Is that right?"

    async def _goodbye(self, call: CallControl, words: str) -> str:
        self._visits.pop(call.call_id, None)
        await call.hangup()  # once what we say now has been heard
        return words


def desk_agent(phone: Patter) -> Agent:
    """The desk's ears and voice."""
    return phone.agent(
        system_prompt="You book appointments.",
        first_message=GREETING,
        stt=LocalSTT(grammar=MAY_BE_SAID),
        tts=LocalTTS(),
    )
