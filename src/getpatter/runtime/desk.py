"""Where one call's services stand ready: connected while the phone rings, handed to the call at its answer."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from getpatter.core import messages as m
from getpatter.core.exchanges import Exchanges
from getpatter.models import HookContext
from getpatter.runtime.account import Sound
from getpatter.runtime.call import Call, Parts
from getpatter.runtime.call_tools import tools_of
from getpatter.runtime.callbacks import reply_of, takes_call_control
from getpatter.runtime.confirming import Confirming
from getpatter.runtime.consulting import Consulting
from getpatter.runtime.control import CallControl
from getpatter.runtime.ears import Ears, TextStage
from getpatter.runtime.hooks import ModelHooks, warn_of_bare_function
from getpatter.runtime.identity import Identity, name_of_provider
from getpatter.runtime.judging import Judging
from getpatter.runtime.mcp_tools import ToolServers
from getpatter.runtime.model_replies import ModelContext, ModelReplies, ModelUsage
from getpatter.runtime.mouth import GreetingShelf, Mouth, SoundStage, Speaker
from getpatter.runtime.pipeline_parts import PipelineParts
from getpatter.runtime.remote import RemoteMessages, RemoteReplies
from getpatter.runtime.services import Originals, audio_stages, of_its_own, open_services
from getpatter.runtime.system_tools import END_CALL
from getpatter.runtime.tasks import TaskNest
from getpatter.runtime.wording import Script, guarded
from getpatter.runtime.writer import HANDLER_LIMIT, ReplySource, Writer
from getpatter.types import AudioFormat, Spent

if TYPE_CHECKING:
    from getpatter.agent import Agent
    from getpatter.llm.base import LLMProvider
    from getpatter.runtime.tools import ToolExecutor, Webhooks
    from getpatter.tts.base import TTSProvider

logger = logging.getLogger(__name__)

Callback = Callable[..., object]
Emit = Callable[[str, dict[str, object]], None]


class Desk:
    """Ears, mouth and writer of one call."""

    def __init__(  # noqa: PLR0913 - everything a call's services need to know
        self,
        agent: Agent,
        identity: Identity,
        nest: TaskNest,
        *,
        tell: Callable[[m.AnyInput], None],
        on_message: Callback | None,
        control: CallControl,
        shelf: GreetingShelf,
        lost: Callable[[str, Exception], None],
        emit: Emit,
        expected: AudioFormat,
        originals: Originals,
        webhooks: Webhooks | None = None,
        messages: RemoteMessages | None = None,
        became: Callable[[Agent], None] = lambda _: None,
        consulting: Consulting | None = None,
        used: Callable[[ModelUsage], None] = lambda _: None,
        drafted: Callable[[bool], None] = lambda _: None,
        sent: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Make the services of a call with `agent`; the recogniser begins to connect."""
        self.agent = agent
        self._identity = identity
        self._nest = nest
        self._tell = tell
        self._on_message = on_message
        self._control = control
        self._shelf = shelf
        self._lost = lost
        self._emit = emit
        self._call: Call | None = None
        self._writer: Writer | None = None
        self._mouth: Mouth | None = None
        self._tools: ToolExecutor | None = None
        self._became = became
        self._consulting = consulting
        self._lent = ToolServers(nest.spawn)
        self._lent.connect(agent.mcp_servers)
        self._voices: list[object] = []
        self._confirming: Confirming | None = None
        self._webhooks = webhooks
        self._messages = messages
        self._remote: RemoteReplies | None = None
        self._used = used
        self._drafted = drafted
        self._sent = sent
        self._expected = expected
        self._services = open_services(agent, originals)
        self._ears = Ears(
            self._services.stt,
            expected=expected,
            report=tell,
            lost=lambda error: lost("stt", error),
            stages=audio_stages(agent, self._context),
            after_transcribe=self._after_transcribe(),
            detector=self._services.vad,
        )
        nest.spawn(self._ears.run(), name="ears")

    def warm_up(self) -> None:
        """Have voice and model connect too, while the phone still rings."""
        self._nest.spawn(self._services.warm_up(self._expected), name="warmup")

    def _after_transcribe(self) -> TextStage | None:
        hook = getattr(self.agent.hooks, "after_transcribe", None)
        if hook is None:
            return None

        async def run(text: str) -> str | None:
            said = await guarded("after_transcribe", hook, text, self._context(), unchanged=text)
            return said if isinstance(said, str) else None

        return run

    def _context(self) -> HookContext:
        history = self._call.session.history.to_dicts() if self._call is not None else []
        return HookContext(
            call_id=self._identity.call_id,
            caller=self._identity.caller,
            callee=self._identity.callee,
            history=tuple(history),
        )

    def equip(self, agent: Agent, call: Call, stream: AudioFormat) -> Parts:
        """The parts of the call, tuned to the carrier's format. `agent` may have been changed since the ring."""
        self._call = call
        script = self._script(agent)
        self._lent.connect(agent.mcp_servers)
        self._voices = [self._services.tts]
        mouth = self._mouth = Mouth(
            self._services.tts,
            report=self._tell,
            queued_ms=lambda: call.session.playout.queued_ms,
            spawn=self._nest.spawn,
            wording=script.word,
            reply_began=script.new_reply,
            after_synthesize=self._after_synthesize(agent),
            shelf=self._shelf,
            failed=self._piece_failed,
            lost=lambda error: self._lost("tts", error),
        )
        self._ears.tune(stream)
        mouth.tune(stream)
        self._writer = Writer(
            self._source(agent, call),
            report=self._tell,
            spawn=self._nest.spawn,
            limit=HANDLER_LIMIT if self._services.llm is None else None,
        )
        confirming = self._confirming = Confirming(
            agent.barge_in_strategies, report=self._tell, spawn=self._nest.spawn
        )
        return PipelineParts(
            self._ears,
            mouth,
            self._writer,
            confirming,
            self._judging(agent, stream),
            self._nest.spawn,
        )

    def _script(self, agent: Agent) -> Script:
        return Script(
            agent,
            context=self._context,
            triggered=lambda name: self._emit("guardrail_triggered", {"name": name}),
        )

    def _judging(self, agent: Agent, stream: AudioFormat) -> Judging | None:
        if agent.turn_detector is None:
            return None
        detector, _ = of_its_own(agent.turn_detector)
        return Judging(
            detector,
            stream=stream,
            within=agent.max_semantic_hold_ms / 1000,
            report=self._tell,
            spawn=self._nest.spawn,
        )

    def _piece_failed(self, error: Exception) -> None:
        told = {"code": str(getattr(error, "code", "") or ""), "stage": "tts"}
        told |= {"provider": str(getattr(error, "vendor", "") or "")}
        self._emit("error", {**told, "error": type(error).__name__})

    def _after_synthesize(self, agent: Agent) -> SoundStage | None:
        hook = getattr(agent.hooks, "after_synthesize", None)
        if hook is None:
            return None

        async def run(pcm: bytes, text: str) -> bytes | None:
            audio = await guarded(
                "after_synthesize", hook, pcm, text, self._context(), unchanged=pcm
            )
            return audio if isinstance(audio, bytes) else None

        return run

    def _source(self, agent: Agent, call: Call) -> ReplySource:
        if self._on_message is not None:
            return _HandlerReplies(self._on_message, self._control, self._identity, call)
        if self._messages is not None:
            self._remote = self._messages.for_call(
                lambda text: message_payload(text, self._identity, call)
            )
            return self._remote
        assert self._services.llm is not None, "serve() has checked that somebody can answer"
        warn_of_bare_function(agent.hooks)
        exchanges = Exchanges()
        abilities = tools_of(
            agent,
            self._identity,
            self._control,
            variables=lambda: agent.variables,
            lines=lambda: call.session.history.lines,
            say=lambda text: self._tell(m.SayAsked(text)),
            emit=self._emit,
            returned=exchanges.returned,
            untold=lambda: self._tell(m.ResultCame()),
            webhooks=self._webhooks,
            consulting=self._consulting,
            lent=self._lent,
        )
        tools = self._tools = abilities.executor
        context = ModelContext(
            lines=lambda: call.session.history.lines,
            hooks=ModelHooks(agent.hooks, self._context),
            exchanges=exchanges,
            call_id=self._identity.call_id,
            used=self._used,
            drafted=self._drafted,
            sent=self._sent,
            spawn=self._nest.spawn,
            emit=self._emit,
            is_ending=lambda: tools.has_done(END_CALL),
            equipped=abilities.equipped,
            refused=lambda error: self._lost("llm", error),
        )
        replies = ModelReplies(self._services.llm, agent, tools, context)
        abilities.on_change(_Succession(self, agent, replies).changed)
        return replies

    def hand_over(self, was: Agent, agent: Agent, replies: ModelReplies) -> None:
        """`agent` goes on with the call of `was`."""
        services = self._services
        assert services.llm is not None, "whoever can hand over has a model"
        tts = None
        if agent.llm is not None and agent.llm is not was.llm:
            services.llm = services.borrow(cast("LLMProvider", agent.llm), agent)
        if agent.tts is not was.tts or agent.voice != was.voice:
            tts = services.tts = services.borrow(cast("TTSProvider", agent.tts), agent)
            self._voices.append(tts)
            self.warm_up()
        replies.become(agent, services.llm)
        script = self._script(agent)
        if self._mouth is not None:
            self._mouth.hand_over(Speaker(tts, script.word, script.new_reply))
        self._became(agent)

    @property
    def heard(self) -> tuple[Sound, ...]:
        """What the recognisers were sent; one, unless it is a chain."""
        return _sounds(self._services.stt, self._ears.spent, self._ears.billed_seconds)

    @property
    def spoken(self) -> tuple[Sound, ...]:
        """What the voices were asked to say; one, unless it is a chain."""
        if self._mouth is None:
            return _sounds(self._services.tts, getattr(self._services.tts, "spent", None), 0)
        letters = [*self._mouth.earlier, self._mouth.characters]
        return tuple(
            sound
            for voice, said in zip(self._voices, letters, strict=False)
            for sound in _sounds(voice, getattr(voice, "spent", None), said)
        )

    def spare_writer(self, *, is_spared: bool) -> None:
        """Whether the reply whose code asks runs to its end when the caller goes elsewhere."""
        if self._writer is not None:
            self._writer.spare(is_spared=is_spared)

    def fall_silent(self) -> None:
        """The caller is elsewhere: nothing more is made for them."""
        if self._mouth is not None:
            self._mouth.cancel()

    def turn_over(self, *, was_interrupted: bool) -> None:
        """An agent turn has ended."""
        if self._confirming is not None:
            self._confirming.turn_over()
        if self._tools is not None:
            self._tools.turn_over(was_interrupted=was_interrupted)

    def is_writing_here(self) -> bool:
        """Whether the code that asks is the reply being written, or a tool of it."""
        is_writing = self._writer is not None and self._writer.is_current_task()
        return is_writing or (self._tools is not None and self._tools.is_current_task())

    async def close(self) -> None:
        """Give everything back that belongs to this call."""
        if self._services.owns_stt:
            await self._ears.close()
        await self._services.close()
        if self._remote is not None:
            await self._remote.close()
        if self._tools is not None:
            await self._tools.close()
        await self._lent.close()


def _sounds(provider: object, spent: Sequence[Spent] | None, units: float) -> tuple[Sound, ...]:
    if spent is not None:
        return tuple(Sound(each.provider, each.model, each.units) for each in spent)
    return (Sound(name_of_provider(provider), str(getattr(provider, "model", "")), units),)


@dataclass(slots=True)
class _Succession:
    """Who has had a call, for those who are told of each change."""

    desk: Desk
    agent: Agent
    replies: ModelReplies

    async def changed(self, agent: Agent) -> None:
        was, self.agent = self.agent, agent
        self.desk.hand_over(was, agent, self.replies)


class _HandlerReplies:
    """Replies of the program's `on_message`."""

    def __init__(
        self, handler: Callback, control: CallControl, identity: Identity, call: Call
    ) -> None:
        self._handler = handler
        self._control = control if takes_call_control(handler) else None
        self._identity = identity
        self._call = call

    def reply(self, text: str, turn_index: int) -> AsyncIterator[str]:
        """What the handler says to `text`."""
        del turn_index
        payload = message_payload(text, self._identity, self._call)
        return reply_of(self._handler, payload, self._control)


def message_payload(text: str, identity: Identity, call: Call) -> dict[str, object]:
    """What `on_message` is asked."""
    return {
        "text": text,
        "call_id": identity.call_id,
        "caller": identity.caller,
        "callee": identity.callee,
        "history": call.session.history.to_dicts(),
    }
