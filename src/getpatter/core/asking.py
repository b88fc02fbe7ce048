"""What an engine is asked for, and when: responses and the answers of tools, one at a time.

An `AskReply` or `ReturnTool` leaves only while no response is being made (CV-63). What is wanted before that waits
as a wish; a response that was asked for and does not begin is asked for again, and then apologised for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from getpatter.core import messages as m
from getpatter.core.conversation import Conversation
from getpatter.core.engine_reply import EngineReply
from getpatter.core.reply import Reply
from getpatter.core.turns import Floor
from getpatter.types import Instant

BEGINS_WITHIN: Final = 4.0
"""Seconds until a response that is owed is asked for (again), of an engine that says at once that one has begun."""
ANSWERS_WITHIN: Final = 15.0
"""The same where silence may be thought: no sign was to be expected, or the engine has said that it has begun."""
ATTEMPTS: Final = 2
SETTLES_AFTER: Final = 0.8
"""Silence of an engine that does not say when a reply is complete."""
GO_ON: Final = (
    "You were cut off by a noise or a broken connection; the caller did not say anything. Go on from where "
    "you were interrupted, without repeating yourself and without mentioning the interruption."
)
ANSWER: Final = "Now answer what the caller said last."
FAREWELL: Final = "Say goodbye to the caller in one short sentence."


@dataclass(slots=True)
class Wish:
    """What the engine shall be asked for as soon as it is free."""

    words: str = ""
    hint: str = ""


@dataclass(slots=True)
class _Asked:
    """A response that was asked for and has not begun."""

    request: int
    at: Instant
    ask: m.AskReply


@dataclass(slots=True, eq=False)
class _Errand:
    """A tool that the model wants run."""

    asked: m.EngineCalledTool
    reply: int
    output: str | None = None


class Asking:
    """Our side of the talk with the engine."""

    def __init__(
        self,
        talk: Conversation,
        agent: EngineReply,
        *,
        says_when_done: bool,
        acknowledges: bool,
        talks_beside_tools: bool,
    ) -> None:
        """Begin before the engine is ready.

        Args:
            talk: The conversation.
            agent: The reply that is being given.
            says_when_done: It tells when a reply is complete.
            acknowledges: It tells that a response has begun before anything comes of it.
            talks_beside_tools: It can be asked for words while a tool runs.
        """
        self.wish: Wish | None = None
        self.running: str | None = None
        """The response that the engine is making."""
        self.is_ready = False
        self._talk = talk
        self._agent = agent
        self._says_when_done = says_when_done
        self._begins_within = BEGINS_WITHIN if acknowledges and says_when_done else ANSWERS_WITHIN
        self._talks_beside_tools = talks_beside_tools
        self._is_blank = False
        """Nothing has come of the response that is being made."""
        self._then: Wish | None = None
        """What gave way to words for a caller who waits."""
        self._asked: _Asked | None = None
        self._attempts = 0
        self._requests = 0
        self._errands: dict[str, _Errand] = {}

    @property
    def is_free(self) -> bool:
        """Whether no response is being made or waited for."""
        return self.running is None and self._asked is None

    @property
    def is_asked(self) -> bool:
        """Whether a response that was asked for has not begun."""
        return self._asked is not None

    # ----------------------------------------------------------------------------- responses come

    def began(self, began: m.EngineReplyBegan) -> m.AskReply | None:
        """A response begins. Returns what it answers, if it was asked for."""
        asked = self._asked
        if asked is None or (began.request != asked.request and self._says_when_done):
            return None
        self._asked = None
        return asked.ask

    def runs(self, response: str) -> None:
        """The engine makes `response`."""
        self.running, self._is_blank = response, True

    def answered_unasked(self) -> None:
        """The engine answers: nobody needs to ask it to. Words that must be said wait for their turn."""
        self._then = None
        if self.wish is not None and not self.wish.words:
            self.wish = None

    def came(self) -> None:
        """Something came of what was asked for."""
        self._attempts = 0
        self._is_blank = False

    def is_refused(self, request: int) -> bool:
        """Whether the engine has refused what we wait for."""
        return self._asked is not None and self._asked.request == request

    def again(self, now: Instant) -> None:
        """A response that was owed did not come."""
        failed, self._asked = self._asked, None
        reply = self._agent.reply
        if self._is_stuck and self.running is not None:
            self._agent.live.discard(self.running)
            self.stop(self.running)
            self.running = None
        if not self._says_when_done and reply is not None:
            reply.is_written = True
            return
        self._attempts += 1
        self._agent.told_at = now
        apology = self._talk.manners.apology
        if self._attempts < ATTEMPTS:
            self.wish = Wish(failed.ask.words, failed.ask.hint) if failed else Wish()
        elif self._attempts == ATTEMPTS and apology and reply is not None:
            self.wish = Wish(words=apology)
        elif reply is not None:
            reply.is_written = True

    @property
    def _is_stuck(self) -> bool:
        """Whether a response has begun, and nothing has come of it yet."""
        return self._says_when_done and self._is_blank and self.running in self._agent.live

    @property
    def owed_due(self) -> Instant | None:
        """When a response that should have begun is asked for."""
        reply = self._agent.reply
        if reply is None or not self.is_ready or reply.is_written:
            return None
        if self._agent.live:
            return Instant(self._agent.told_at + ANSWERS_WITHIN) if self._is_stuck else None
        if self.wish is not None or self.errands_of(reply):
            return None
        if reply.pieces and self._asked is None:
            return None
        at = self._asked.at if self._asked is not None else self._agent.told_at
        return Instant(at + self._begins_within)

    def let_first(self, words: str, reply: Reply) -> bool:
        """Have `words` said before an answer that does not begin. False: one has begun, and is not stopped."""
        if not self.is_ready or self.running is not None:
            return False
        if self.wish is not None and self.wish.words:
            return True  # other words are on their way
        if self.errands_of(reply) and not self._talks_beside_tools:
            return True  # nobody can
        if not self.errands_of(reply):
            late, ask = self.wish, self._asked.ask if self._asked is not None else None
            if late is None and ask is not None:
                late = Wish(ask.words, ask.hint)
            if late is None or not (late.words or late.hint):
                late = Wish(hint=ANSWER)
            self._then = late
        self._asked, self.wish = None, Wish(words=words)
        return True

    def pause_due(self, now: Instant) -> Instant | None:
        """When an engine that does not say so has finished a reply: it and the line are silent for a while."""
        reply, told_at = self._agent.reply, self._agent.told_at
        if self._says_when_done or reply is None or self.running not in self._agent.live:
            return None
        if self.errands_of(reply):
            return None
        if not reply.has_audio:
            return Instant(told_at + ANSWERS_WITHIN)
        silent = self._talk.playout.silent_at(now)
        return None if silent is None else max(silent, Instant(told_at + SETTLES_AFTER))

    def taken_for_over(self, now: Instant) -> str | None:
        """The response that such an engine has finished by now."""
        due, playout = self.pause_due(now), self._talk.playout
        if due is None or now < due or not playout.is_silent(now) or playout.queued_ms:
            return None
        return self.running

    # -------------------------------------------------------------------------------------- errands

    def called(self, asked: m.EngineCalledTool, reply: Reply) -> None:
        """The model wants a tool run."""
        if asked.call not in self._errands:
            self._errands[asked.call] = _Errand(asked, reply.number)
            self._talk.out.append(m.RunTool(asked.call, asked.name, asked.arguments))

    def tool_done(self, call: str, output: str) -> None:
        """A tool has answered."""
        errand = self._errands.get(call)
        if errand is not None:
            errand.output = output

    def errands_of(self, reply: Reply) -> list[_Errand]:
        """The tools of `reply` whose answers the engine does not have."""
        return [each for each in self._errands.values() if each.reply == reply.number]

    def may_talk_beside(self, reply: Reply) -> bool:
        """Whether a tool of `reply` runs that other words may be said beside."""
        return self._talks_beside_tools and bool(self.errands_of(reply))

    def _return(self, errand: _Errand) -> None:
        asked = errand.asked
        del self._errands[asked.call]
        assert errand.output is not None, "a result is returned when it is there"
        self._talk.out.append(m.ReturnTool(asked.call, asked.name, asked.arguments, errand.output))

    def _return_at_once(self, now: Instant) -> None:
        """To an engine that waits for results in the middle of a reply, and then goes on by itself."""
        for each in [errand for errand in self._errands.values() if errand.output is not None]:
            self._return(each)
            self._agent.told_at = now

    # --------------------------------------------------------------------------------------- asking

    def serve(self, now: Instant) -> None:
        """Return results and ask for responses, while none is being made."""
        if not self.is_ready:
            return
        if not self._says_when_done:
            self._return_at_once(now)
        if not self.is_free:
            return
        reply = self._agent.reply
        errands = self.errands_of(reply) if reply is not None else []
        if self._return_complete(errands) and self._wants_follow_up(reply):
            is_farewell = self._talk.floor is Floor.CLOSING
            self.wish = self.wish or Wish(hint=FAREWELL if is_farewell else "")
        if self.wish is None:
            self.wish, self._then = self._then, None
        if self.wish is not None and reply is not None and self._talk.floor is not Floor.OPENING:
            wish, self.wish = self.wish, None
            self._ask(wish, reply, now)
            return
        if reply is not None and not self._agent.live and self._is_written(reply, errands):
            reply.is_written = True

    def _return_complete(self, own: list[_Errand]) -> bool:
        """Return the answers of `own`, if all are there, and those of older replies. True if any was of `own`."""
        is_complete = all(each.output is not None for each in own)
        returned = [
            each
            for each in self._errands.values()
            if each.output is not None and (each not in own or is_complete)
        ]
        for each in returned:
            self._return(each)
        return any(each in own for each in returned)

    def _wants_follow_up(self, reply: Reply | None) -> bool:
        if self._talk.floor is not Floor.CLOSING:
            return True
        # The goodbye was said before the tool was called, or it has not been said (CV-53).
        return reply is not None and not reply.text

    def _ask(self, wish: Wish, reply: Reply, now: Instant) -> None:
        self._requests += 1
        ask = m.AskReply(self._requests, wish.words, wish.hint)
        self._asked = _Asked(self._requests, now, ask)
        self._agent.told_at = now
        reply.is_written = False
        self._talk.out.append(ask)

    def _is_written(self, reply: Reply, errands: list[_Errand]) -> bool:
        return not errands and (bool(reply.pieces) or self.owed_due is None)

    # ------------------------------------------------------------------------------------- stopping

    def forget(self) -> None:
        """What was asked for belongs to a reply that was cut."""
        self._asked = self._then = None

    def begin(self) -> None:
        """A new reply is owed."""
        self._attempts = 0
        self._then = None

    def stop(self, response: str) -> None:
        """Have the engine stop a response that nobody wants."""
        self.running = response
        self._talk.out.append(m.StopReply(response))

    def stop_reply(self) -> None:
        """Stop the response of the present reply that is being made."""
        if self.running is not None and self.running in self._agent.live:
            self._talk.out.append(m.StopReply(self.running))
        if not self._says_when_done:
            self.running = None

    # ----------------------------------------------------------------------------------- connection

    def ready(self, now: Instant, *, is_again: bool) -> None:
        """The engine may be spoken to."""
        self.is_ready = True
        reply = self._agent.reply
        if not is_again or reply is None or reply.is_written:
            return
        self._agent.told_at = now
        if self.wish is None and not self.errands_of(reply):
            self.wish = Wish(hint=GO_ON) if reply.pieces else Wish()

    def lost(self) -> None:
        """The connection is gone: what was asked for is asked of the next one."""
        self.is_ready = False
        self.running = None
        if self._asked is not None:
            self.wish = Wish(self._asked.ask.words, self._asked.ask.hint)
            self._asked = None

    def gone(self) -> None:
        """There will be no next one."""
        self.wish = self._then = None
        self._errands.clear()
