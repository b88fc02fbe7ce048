"""One call from the first ring to its last callback: who rang whom, what the program is told, what it costs.

The order of a call's life:

```
ring        providers begin to connect                     (the carrier's webhook)
answer      the stream was admitted, on_call_start runs     (at most 10 s)
talk        core/session.py, by way of runtime/call.py
finish      the stream is over: the carrier leg is checked and released
farewell    on_call_end, once, with everything
```
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from getpatter.carriers.base import (
    CallCosted,
    Carrier,
    MediaWire,
    MessageLeft,
    RecordingFinished,
    StreamFailed,
    StreamStarted,
)
from getpatter.core import messages as m
from getpatter.core.manners import FAREWELL, Manners
from getpatter.core.session import Session
from getpatter.core.variables import merge_variables, substitute
from getpatter.errors import PatterError
from getpatter.models import CallMetrics
from getpatter.runtime import clock
from getpatter.runtime.abilities import with_voice
from getpatter.runtime.account import Account, Sound
from getpatter.runtime.background import bed_for, prepare_background
from getpatter.runtime.call import NORMAL, SHUTTING_DOWN, Brain, Call
from getpatter.runtime.caller_path import caller_path
from getpatter.runtime.control import CallControl
from getpatter.runtime.desk import Desk
from getpatter.runtime.engine_desk import EngineDesk, duplex_session, engine_manners
from getpatter.runtime.house import House
from getpatter.runtime.identity import (
    Identity,
    Orders,
    changed,
    changes_variables,
    hears_with_built_in,
    manners_of,
)
from getpatter.runtime.leg import Leg
from getpatter.runtime.media import MediaListener, MediaSocket
from getpatter.runtime.recorder import FlightRecorder
from getpatter.runtime.reports import Reports
from getpatter.runtime.stages import Stages
from getpatter.runtime.steering import Steering
from getpatter.runtime.tasks import TaskNest
from getpatter.types import Instant

if TYPE_CHECKING:
    from getpatter.agent import Agent
    from getpatter.runtime.outbound import Attempt

from getpatter.tracebacks import without_text

logger = logging.getLogger(__name__)

Callback = Callable[..., object]
_T = TypeVar("_T")

RELEASE_WITHIN: Final = 5.0


class Line:
    """One call. Made at the first ring; `answer` when its stream is admitted; freed after `farewell`."""

    def __init__(
        self,
        identity: Identity,
        carrier: Carrier,
        orders: Orders,
        house: House,
        *,
        reference: str = "",
    ) -> None:
        """Register a call. `reference` names it in the URL of its stream; the call id where there is none."""
        self.identity = identity
        self.reference = reference or identity.call_id
        self.attempt: Attempt | None = None
        self.orders = orders
        self._leg = Leg(identity, carrier, house)
        self.steering = Steering(self, self._leg, house)
        """What the program may do to the call."""
        self.control = CallControl(
            self.steering,
            call_id=identity.call_id,
            caller=identity.caller,
            callee=identity.callee,
            telephony_provider=identity.carrier,
        )
        self.call: Call | None = None
        self.status: str = "initiated"
        self.reason: m.EndReason = "caller_hangup"
        self.began_at = clock.now()
        self.ended_at: float | None = None
        self._answered_at: Instant | None = None
        self.carrier = carrier
        self._house = house
        self._nest = TaskNest(f"call {identity.call_id}", on_error=self._task_failed)
        self._media_over = asyncio.Event()
        self._settled = asyncio.Event()
        self._decided: m.EndReason | None = None
        self.is_open = False
        """Whether the conversation has begun: `on_call_start` has run."""
        self._has_lost: set[str] = set()
        """What could not be brought back."""
        self._is_apologising = False
        self._wall_offset = clock.wall() - clock.now()
        self._desk: Desk | EngineDesk | None = None
        self.account = Account(
            identity, self._wall_offset, house.pricing, heard=self._heard, spoken=self._spoken
        )
        """What the engine or model of this call will be billed for, response by response."""
        self.reports = Reports(identity, house, self.account)
        self.stages = Stages(
            self.reports,
            self.account,
            agent=lambda: self.orders.agent,
            wall_offset=self._wall_offset,
        )

    # ---------------------------------------------------------------------- what an Attempt may do

    @property
    def has_talked(self) -> bool:
        """Whether its stream was ever connected."""
        return self.call is not None

    @property
    def is_released(self) -> bool:
        """Whether somebody has seen to the end of the carrier's leg."""
        return self._leg.is_released

    @property
    def variables(self) -> Mapping[str, object]:
        """Values of `{name}` placeholders of this call."""
        return merge_variables(
            self.orders.variables, self.orders.agent.variables, self.identity.custom_params
        )

    def placed(self) -> None:
        """The carrier has accepted our call."""
        self.reports.clerk.placed(self.reports.start())

    def work(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Start work that may outlive the media of this call."""
        self._house.nest.spawn(work, name=f"{name} {self.identity.call_id}")

    def tell_program(self, name: str, function: Callback | None, payload: object) -> None:
        """Call one of the program's functions in this call's order."""
        self.reports.callbacks.tell(name, function, payload)

    def hand_over(self, reason: m.EndReason) -> None:
        """From here on the carrier itself ends the call; our stream will stop."""
        self._decided = reason
        self._leg.is_released = True

    async def leave_message(self, text: str) -> None:
        """Have the carrier's own voice say `text` and end the call. Raises `PatterError` if it refuses."""
        await self._leg.leave_message(text, language=str(self.orders.agent.language))

    # ------------------------------------------------------------------------------------- ringing

    def prewarm(self) -> None:
        """Connect to providers while the phone still rings. A failure only means a later connect."""
        agent = self.orders.agent
        is_own = agent.engine is not None or callable(getattr(agent.stt, "clone", None))
        if agent.background_audio is not None:
            expected = self.carrier.wire().format
            self._nest.spawn(prepare_background(agent, expected), name="background")
        if agent.prewarm and is_own:
            self._desk = self._open_desk(agent)
            if isinstance(self._desk, Desk):
                self._desk.warm_up()

    def _open_desk(self, agent: Agent) -> Desk | EngineDesk:
        if agent.mode == "engine":
            return EngineDesk(
                agent,
                self.identity,
                self._nest,
                tell=self.tell,
                control=self.control,
                http=self._house.http,
                lost=self._provider_lost,
                emit=self.reports.emit,
                expected=self.carrier.wire().format,
                first_message=self.orders.first_message,
                variables=self._variables({}),
                webhooks=self._house.webhooks,
                became=self._became,
                consulting=self._house.consulting,
                used=self.stages.used,
            )
        return Desk(
            agent,
            self.identity,
            self._nest,
            tell=self.tell,
            on_message=self._house.on_message,
            control=self.control,
            shelf=self._house.shelf,
            lost=self._provider_lost,
            emit=self.reports.emit,
            expected=self.carrier.wire().format,
            originals=self._house.originals,
            webhooks=self._house.webhooks,
            messages=self._house.remote,
            became=self._became,
            consulting=self._house.consulting,
            used=self.account.usage.append,
            drafted=self.account.drafted,
            sent=self.account.sent,
        )

    def _became(self, agent: Agent) -> None:
        """Another agent has this call from now on."""
        self.orders = replace(self.orders, agent=agent)

    def tell(self, event: m.AnyInput) -> None:
        """Pass something on to the conversation, if there is one."""
        if self.call is not None:
            self.call.tell(event)

    def _provider_lost(self, stage: str, error: Exception) -> None:
        code = str(getattr(error, "code", "") or "")
        provider = str(getattr(error, "vendor", "") or "")
        self.reports.failed(stage, type(error).__name__, code=code, provider=provider)
        self._has_lost.add(stage)
        if self.is_open and not self.steering.is_away:
            self._give_up()

    def _give_up(self) -> None:
        """The call cannot go on without what was lost: say so, then end it (CV-66)."""
        if self._has_lost & {"engine", "tts"}:
            if not self._is_apologising:
                self._is_apologising = True
                self.work(self._apologise(), name="apology")
            return
        self.tell(m.SayAsked(self._farewell))
        self.tell(m.CloseAsked("provider_error"))

    @property
    def _farewell(self) -> str:
        return self.orders.agent.llm_error_message or FAREWELL

    async def _apologise(self) -> None:
        """Nothing of ours has a voice any more: the carrier has one (CV-66)."""
        text = self._farewell
        self.hand_over("provider_error")
        try:
            async with asyncio.timeout(RELEASE_WITHIN):
                await self.leave_message(text)
        except (PatterError, TimeoutError) as error:
            logger.warning("call.apology_failed error=%s", type(error).__name__)
            self.hang_up_now("provider_error")

    # -------------------------------------------------------------------------------------- talking

    def answer(self, socket: MediaSocket, wire: MediaWire, started: StreamStarted) -> Call:
        """The stream was admitted: the conversation begins as soon as `on_call_start` has run."""
        now = clock.now()
        manners = manners_of(self.orders, self.identity.call_id)
        self.call = Call(
            socket=socket,
            wire=wire,
            started=started,
            session=self._session(started, manners, now),
            wheel=self._house.wheel,
            listener=self,
            detector=self._house.detector if hears_with_built_in(self.orders.agent) else None,
            began_at=now,
            recorder=self._recorder(started, manners, now),
            watch=self.stages,
            tape=self._house.tape(self.identity.call_id, started.format, now),
        )
        self.stages.attend(self.call.session.playout, self.call.session.history)
        self.status = "in-progress"
        self._answered_at = self._answered_at or now
        self._house.nest.spawn(self._live(self.call), name=f"line {self.identity.call_id}")
        return self.call

    def _session(self, started: StreamStarted, manners: Manners, now: Instant) -> Brain:
        agent = self.orders.agent
        if agent.mode == "engine":
            return duplex_session(
                agent, started.format, manners, began_at=now, wall_offset=self._wall_offset
            )
        return Session(started.format, manners, began_at=now, wall_offset=self._wall_offset)

    def _recorder(
        self, started: StreamStarted, manners: Manners, now: Instant
    ) -> FlightRecorder | None:
        folder = self._house.flights
        if folder is None:
            return None
        return FlightRecorder.begin(
            folder,
            self.identity.call_id,
            carrier=self.identity.carrier,
            started=started,
            manners=manners,
            began_at=now,
            wall_offset=self._wall_offset,
            engine=(
                engine_manners(self.orders.agent, started.format)
                if self.orders.agent.mode == "engine"
                else None
            ),
        )

    async def _live(self, call: Call) -> None:
        try:
            reports = self.reports
            reports.began(self.orders.agent)
            logger.info("call.started call=%s", self.identity)
            changes = await reports.callbacks.ask(
                "on_call_start", self._house.on_call_start, reports.start()
            )
            await prepare_background(self.orders.agent, call.stream, changes)
            if not call.is_over:
                self._begin(call, changes or {})
            await self._media_over.wait()
        finally:
            await self._wrap_up(call)

    def _begin(self, call: Call, changes: Mapping[str, object]) -> None:
        mode = self.orders.agent.mode
        orders = changed(self.orders, changes)
        if orders.agent.mode != mode:
            logger.warning("on_call_start.ignored key=agent reason=mode")
            orders = self.orders
        agent = with_voice(orders.agent, changes)
        self.orders = orders
        variables = self._variables(changes)
        prompt = substitute(agent.system_prompt, variables)
        agent = replace(agent, system_prompt=prompt, variables=variables)
        self.orders = replace(orders, agent=agent, variables=variables)
        first_message = substitute(orders.first_message, variables)
        if self._desk is None or not _serves(self._desk.agent, agent):
            if self._desk is not None:
                self._nest.spawn(self._desk.close(), name="close-unused")
            self._desk = self._open_desk(agent)
        desk = self._desk
        if isinstance(desk, EngineDesk):
            desk.settle(first_message, variables)
        call.equip(lambda stream: desk.equip(agent, call, stream))
        call.clean_with(
            caller_path(agent, call.stream, clock.now(), self._house.originals, self._nest)
        )
        manners = manners_of(self.orders, self.identity.call_id)
        call.session.playout.bed = bed_for(manners.background, call.stream)
        call.tell(m.Opened(first_message, manners=manners))
        self._arrange_at_carrier()
        self.is_open = True
        if self._has_lost:
            self._give_up()

    def _variables(self, changes: Mapping[str, object]) -> Mapping[str, object]:
        orders = self.orders
        return merge_variables(
            changes_variables(changes),
            {**(orders.agent.variables or {}), **orders.variables},
            self.identity.custom_params,
        )

    def _arrange_at_carrier(self) -> None:
        """What the carrier itself shall do with this call: keep it short enough, and record it."""
        orders = self.orders
        if self.identity.direction == "inbound":
            limit = self._leg.limit(orders.max_call_duration)
            self.work(self._try(limit, "time_limit"), name="limit")
        if orders.is_recorded:
            self.work(self._try(self._leg.record(), "recording"), name="record")

    async def _try(self, asked: Coroutine[Any, Any, bool], stage: str) -> None:
        if not await asked:
            self.reports.failed(stage, "PatterError", provider=self.identity.carrier)

    async def _wrap_up(self, call: Call) -> None:
        """Everything after the media: each step is bounded, and none can keep the next from happening."""
        self.ended_at = clock.wall()
        if self.reason != "voicemail":
            self.status = "completed"
        # Tools may take a while to finish; the carrier's leg does not wait for them.
        closing = [self._step(self._desk.close())] if self._desk is not None else []
        if call.caller_path is not None:
            closing.append(self._step(call.caller_path.close()))
        await asyncio.gather(self._step(self._leg.release()), self._step(call.taped()), *closing)
        if call.was_cut and self._leg.has_outlived_us and self.reason == "caller_hangup":
            self.reason = "carrier_error"  # nobody hung up: the stream was lost
        await self._step(self._nest.close())
        call.close_socket(SHUTTING_DOWN if self.reason == "shutdown" else NORMAL)
        payload, metrics = self.end_payload(), self.metrics()
        self.reports.clerk.ended(payload, metrics, self.status)
        logger.info("call.ended call=%s reason=%s", self.identity, self.reason)
        told = self.reports.callbacks.finish("on_call_end", self._house.on_call_end, payload)
        await self._step(told)
        await self._step(self.reports.nest.close())
        self.reports.over(payload, self.status, call.counters)
        self.reports.aftermath.over(metrics.cost)
        self._house.aftermaths.follow(self.reports.aftermath, self.carrier)
        self._house.over(self)
        self._settled.set()

    async def _step(self, work: Coroutine[Any, Any, object]) -> None:
        """One of the last steps of a call; what it raises is logged, and the next one follows."""
        try:
            await work
        except Exception as error:
            kind, shown = type(error).__name__, without_text(error)
            logger.exception(
                "call.step_failed call=%s error=%s", self.identity, kind, exc_info=shown
            )

    async def abandon(self) -> None:
        """The call ended, or was given up, before any media came: no callback fires (CB-5)."""
        if self.call is not None or self._settled.is_set():
            return
        self._media_over.set()
        if self.attempt is not None and self.status in {"initiated", "ringing"}:
            self.status_changed("canceled")
        if self._desk is not None:
            await self._desk.close()
        await self._nest.close()
        await self.reports.nest.close()
        self._house.over(self)
        self._settled.set()

    async def end_by_program(self) -> None:
        """The program hangs up, from outside the conversation."""
        self.hand_over("agent_hangup")
        await self.end_leg()
        if self.call is None:
            await self.abandon()

    async def shut_down(self) -> None:
        """The server stops: end the call at its carrier, then here."""
        self.hand_over("shutdown")
        await self.end_leg()
        if self.call is None:
            await self.abandon()

    @property
    def is_settled(self) -> bool:
        """Whether everything of this call is done."""
        return self._settled.is_set()

    async def settled(self) -> None:
        """Wait until everything of this call is done, `on_call_end` included."""
        await self._settled.wait()

    # -------------------------------------------------------------------------- Listener of the call

    def reported(self, command: m.AnyCommand) -> None:
        """Tell the program what the session reports."""
        assert self.call is not None, "reports come from a running call"
        match command:
            case m.ReportTurn(record=record):
                if self._desk is not None:
                    self._desk.turn_over(was_interrupted=record.is_interrupted)
                self.reports.turn_over(record, clock.now() - self.began_at)
            case m.SayQuiet(ticket=ticket):
                self.steering.quiet(ticket)
            case _:
                self.reports.reported(command, self.call.session.history)

    def status_changed(self, status: str) -> None:
        """The carrier's word for where the call stands."""
        self.status = status
        if status == "in-progress":
            self._answered_at = clock.now()
        self.reports.status(status)

    def told_by_carrier(
        self, event: StreamFailed | RecordingFinished | MessageLeft | CallCosted
    ) -> None:
        """News that changes nothing about who is talking."""
        match event:
            case StreamFailed():
                logger.error("call.stream_failed call=%s", self.identity)
            case MessageLeft():
                self.hang_up_now("voicemail")
            case CallCosted() | RecordingFinished():
                self.reports.news(event)

    def hang_up_now(self, reason: m.EndReason) -> None:
        """End the call by the carrier's API, now."""
        self.hand_over(reason)
        self._house.nest.spawn(self.end_leg(), name=f"hang-up {self.identity.call_id}")

    async def end_leg(self) -> None:
        """End the call at its carrier, then its stream here."""
        self.steering.abandon()
        await self._leg.hang_up()
        if self.call is not None:
            # The carrier's `stop` usually came first; a carrier that did not listen loses its stream.
            self.call.tell(m.CallOver(self._decided or self.reason))

    def ended_at_carrier(self) -> None:
        """The carrier says that the call is over."""
        self.steering.abandon()
        self.tell(m.CallOver())

    def _is_out_of_time(self) -> bool:
        limit = self.orders.max_call_duration
        lasted = clock.now() - (self._answered_at or self.began_at)
        return lasted >= limit - min(1.0, limit / 10)

    def finished(self, reason: m.EndReason) -> None:
        """The media part is over."""
        # The carrier counts from the answer and may be first: it is the same limit.
        if reason == "caller_hangup" and self._is_out_of_time():
            reason = "time_limit"
        self.reason = self._decided or reason
        self.steering.media_over()
        self._media_over.set()

    # ------------------------------------------------------------------------------------- steering

    @property
    def is_over(self) -> bool:
        """Whether the media part has ended."""
        return self._media_over.is_set()

    async def media_over(self) -> None:
        """Wait until the media part has ended."""
        await self._media_over.wait()

    def is_writing_here(self) -> bool:
        """Whether the code that asks is a reply of this call being written, or a tool of it."""
        return self._desk is not None and self._desk.is_writing_here()

    def spare_writer(self, *, is_spared: bool) -> None:
        """Whether the reply whose code asks runs to its end when the caller goes elsewhere."""
        if isinstance(self._desk, Desk):
            self._desk.spare_writer(is_spared=is_spared)

    def left(self) -> None:
        """The caller is elsewhere: what was to be said to them is not said."""
        if isinstance(self._desk, Desk):
            self._desk.fall_silent()

    def come_back(
        self, socket: MediaSocket, wire: MediaWire, started: StreamStarted
    ) -> MediaListener:
        """Nobody took the caller: they are here again."""
        listener = self.steering.come_back(socket, wire, started)
        if self._has_lost:
            self._give_up()
        return listener

    # -------------------------------------------------------------------------------------- numbers

    def end_payload(self) -> dict[str, object]:
        """What `on_call_end` gets."""
        return self.reports.end(
            self.call.session.history if self.call is not None else None,
            metrics=self.metrics(),
            reason=self.reason,
            ended_at=self.ended_at,
            recording_path=self.call.recording_path if self.call is not None else "",
        )

    def metrics(self) -> CallMetrics:
        """Latency and cost of the call so far."""
        return self.account.metrics(self.orders.agent, clock.now() - self.began_at)

    def _heard(self) -> Sequence[Sound]:
        return self._desk.heard if isinstance(self._desk, Desk) else ()

    def _spoken(self) -> Sequence[Sound]:
        return self._desk.spoken if isinstance(self._desk, Desk) else ()

    def _task_failed(self, name: str, error: BaseException) -> None:
        kind, shown = type(error).__name__, without_text(error)
        logger.error("call.task_failed task=%s error=%s", name, kind, exc_info=shown)


def _serves(there: Agent, wanted: Agent) -> bool:
    """Whether the services of one agent will do for the other."""
    return there.stt is wanted.stt and there.engine == wanted.engine
