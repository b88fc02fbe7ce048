"""What every agent can do without being given a tool for it: hand the caller on, end the call, press keys.

They are ordinary tools, run by the ordinary executor; what is special is that they refuse: a number that the
agent may not call, a goodbye before anybody has spoken.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from getpatter.agent import allows_transfer, is_exact_entry
from getpatter.core.dictation import was_dictated
from getpatter.core.history import Line
from getpatter.runtime import clock
from getpatter.runtime.control import CallControl
from getpatter.tools import Tool
from getpatter.types import Instant, is_e164, masked

if TYPE_CHECKING:
    from getpatter.agent import Agent

logger = logging.getLogger(__name__)

END_CALL: Final = "end_call"
NO_ENDING_BEFORE: Final = 10.0
"""Seconds from the greeting on in which a call does not end before the caller has said something."""
KEY_GAP_MS: Final = 300
_REASON_LETTERS: Final = 80
_DIGITS: Final = re.compile(r"\d{3,}")
_SIP: Final = re.compile(r"sips?:[^\s@]+(?:@[^\s@]+)?", re.IGNORECASE)

_MODE: Final[Mapping[str, object]] = {
    "type": "string",
    "enum": ["cold", "warm"],
    "description": "cold (the default): at once. warm: the other side is told your summary first.",
}
_SUMMARY: Final[Mapping[str, object]] = {
    "type": "string",
    "maxLength": 1000,
    "description": "For a warm transfer: who calls and what about, in one or two sentences to be read out.",
}

Refusal = dict[str, object]


@dataclass(frozen=True, slots=True)
class Situation:
    """What system tools have to know of their call."""

    call_id: str
    is_outbound: bool
    opened_at: Instant
    """When the greeting began, or could have."""
    lines: Callable[[], Sequence[Line]]
    """What was said so far."""


def destination_refused(agent: Agent, number: str) -> Refusal | None:
    """Why a call may not be handed to `number`: it is no destination, or not on the agent's list."""
    if not (is_e164(number) or _SIP.fullmatch(number)):
        return {"error": "Invalid phone number format", "status": "rejected"}
    if not allows_transfer(agent.transfer_allow, number):
        return {
            "error": "This number is not one that calls may be transferred to",
            "status": "rejected",
        }
    return None


def dictation_refused(agent: Agent, number: str, lines: Sequence[Line]) -> Refusal | None:
    """Why a number that the model chose may not be called: it is the caller's idea, not the operator's.

    Only with a list, and not for a number that stands on it in full.
    """
    if agent.transfer_allow is None:
        return None
    if any(
        is_exact_entry(entry) and entry.lower() == number.lower() for entry in agent.transfer_allow
    ):
        return None
    said = [line.text for line in lines if line.role == "user"]
    if was_dictated(number, said, language=agent.language):
        return {
            "error": "The caller gave this number; calls are not transferred to numbers of callers",
            "status": "rejected",
        }
    return None


class SystemTools:
    """The built-in tools of one call."""

    def __init__(self, agent: Agent, control: CallControl, situation: Situation) -> None:
        """Act on a call within the limits of `agent`."""
        self._agent = agent
        self._control = control
        self._situation = situation

    def tools(self) -> list[Tool]:
        """Those that fit the call."""
        offered = [self._transfer_call(), self._end_call()]
        if self._situation.is_outbound:
            offered.append(self._send_dtmf())
        return offered

    # -------------------------------------------------------------------------------------- transfer

    def _transfer_call(self) -> Tool:
        description = (
            "Connect the caller to somebody else, who then takes over: the call ends for you. "
            "Say so to the caller before you do it. When nobody takes the call, the caller comes back to you."
        )
        entries = [each for each in self._agent.transfer_allow or () if is_exact_entry(each)]
        if entries:
            description += f" Numbers you may use: {', '.join(entries)}."
        number = {
            "type": "string",
            "description": "E.164, like +15550001234, or a sip: address. Never one that the caller told you.",
        }
        return Tool(
            "transfer_call",
            description,
            {
                "type": "object",
                "properties": {"number": number, "mode": _MODE, "summary": _SUMMARY},
                "required": ["number"],
                "additionalProperties": False,
            },
            self._transfer,
            timeout_s=60.0,
        )

    async def _transfer(self, args: Mapping[str, str], ctx: object) -> dict[str, object]:
        del ctx
        number = args["number"].strip()
        refused = destination_refused(self._agent, number) or dictation_refused(
            self._agent, number, self._situation.lines()
        )
        if refused is not None:
            logger.warning(
                "transfer.rejected call=%s to=%s", self._situation.call_id, masked(number)
            )
            return refused
        logger.info("transfer.asked call=%s to=%s", self._situation.call_id, masked(number))
        mode: Literal["cold", "warm"] = "warm" if args.get("mode") == "warm" else "cold"
        return await self._control.transfer(number, mode=mode, summary=args.get("summary", ""))

    # ------------------------------------------------------------------------------------------- end

    def _end_call(self) -> Tool:
        return Tool(
            END_CALL,
            "Hang up, when the conversation is finished and both sides have said goodbye. Say your goodbye "
            "first; it is heard to its end.",
            {
                "type": "object",
                "properties": {
                    "reason": {"type": "string", "description": "Why, in a few words, for the log."}
                },
                "additionalProperties": False,
            },
            self._end,
            effect="read",
        )

    async def _end(self, args: Mapping[str, str], ctx: object) -> dict[str, object]:
        del ctx
        if self._is_too_early():
            return {
                "error": "The caller has not said anything yet. Give them time to speak.",
                "status": "rejected",
            }
        reason = _DIGITS.sub("***", args.get("reason", ""))[:_REASON_LETTERS]
        logger.info("call.end_asked call=%s reason=%r", self._situation.call_id, reason)
        await self._control.hangup()
        return {"status": "ending", "note": "The call ends when what you have said was heard."}

    def _is_too_early(self) -> bool:
        has_spoken = any(line.role == "user" for line in self._situation.lines())
        return not has_spoken and clock.now() - self._situation.opened_at < NO_ENDING_BEFORE

    # ------------------------------------------------------------------------------------------ keys

    def _send_dtmf(self) -> Tool:
        return Tool(
            "send_dtmf",
            "Press keys of the phone, to get through a menu or to enter a number that is asked for.",
            {
                "type": "object",
                "properties": {
                    "digits": {
                        "type": "string",
                        "pattern": "^[0-9A-Da-d*#w]{1,64}$",
                        "description": "0-9, A-D, * and #; w waits half a second.",
                    }
                },
                "required": ["digits"],
                "additionalProperties": False,
            },
            self._press,
            timeout_s=60.0,
        )

    async def _press(self, args: Mapping[str, str], ctx: object) -> dict[str, object]:
        del ctx
        digits = args["digits"]
        await self._control.send_dtmf(digits.upper().replace("W", "w"), delay_ms=KEY_GAP_MS)
        return {"status": "sent", "digits": len(digits)}
