"""One simulated call of Telnyx: rings, obeys commands, streams, reports, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final, Literal, Protocol

from getpatter.audio.resample import resampled
from getpatter.net.tasks import TaskNest
from getpatter.testing.callees import Callee
from getpatter.testing.callers import Handset, HungUpError, Program
from getpatter.testing.line import Conditions, Tape
from getpatter.testing.network import Network, UpgradeRefusedError
from getpatter.testing.ride import Ride
from getpatter.testing.telnyx_api import ApiError, Body
from getpatter.testing.telnyx_leg import StreamFacts, TelnyxLeg
from getpatter.types import MULAW_8K, AudioFormat, Encoding, Instant

Status = Literal["parked", "ringing", "answered", "hangup"]

_CODECS: Final = {"L16": Encoding.PCM16, "PCMU": Encoding.MULAW, "PCMA": Encoding.ALAW}
_SAYS_S_PER_LETTER: Final = 0.06
_SAMPLE_S: Final = 1 / 8000
LONGEST_CALL_S: Final = 4 * 3600.0
_HANGUP_CAUSES: Final[Mapping[str, str]] = {
    "busy": "user_busy",
    "no-answer": "no_answer",
    "failed": "call_rejected",
}
_GREETING_S: Final = 1.0
"""From the verdict to the end of a machine's greeting."""
_CALLER_WAITS_S: Final = 60.0
_RATE: Final = 0.0055
"""Dollars a minute: of nobody, so that a price is not taken for an estimate."""


@dataclass(slots=True)
class Report:
    """A webhook that was sent."""

    kind: str
    """The event, such as `call.answered`."""
    payload: dict[str, Any] = field(repr=False)
    status: int
    """HTTP status of the server's answer; 0 for none."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How the simulated Telnyx does what its documentation leaves open."""

    byte_order: Literal["little", "big"] = "little"
    """Of L16, both ways."""
    reorders: bool = False
    """Now and then two frames of sound change places."""
    announces: AudioFormat | None = None
    """What the server is sent, whatever it asked for."""
    fails_l16: bool = False
    """A stream in L16 is accepted and then fails (`streaming.failed`)."""


class Account(Protocol):
    """What a call needs of its account."""

    connection_id: str
    network: Network
    callees: dict[str, Callee]
    habits: Habits
    costs_reported_after_s: float | None

    def new_id(self, prefix: str) -> str:
        """A fresh id."""
        ...

    def date(self) -> str:
        """Now, as ISO 8601 says it."""
        ...

    def leg_of(self, call: SimulatedTelnyxCall, body: Body) -> SimulatedTelnyxCall:
        """Begin the new leg of a transfer."""
        ...

    def find(self, call_id: str) -> SimulatedTelnyxCall:
        """The call of this id. Raises `ApiError`."""
        ...

    async def deliver(
        self, call: SimulatedTelnyxCall, event: str, payload: Mapping[str, Any]
    ) -> None:
        """Send a signed webhook."""
        ...


class SimulatedTelnyxCall:
    """One call, from the first ring to the last webhook."""

    def __init__(  # noqa: PLR0913, PLR0915 - what a call is made of, and all that tests may ask of it
        self,
        account: Account,
        *,
        direction: Literal["incoming", "outgoing"],
        caller: str,
        callee: str,
        person: Program,
        body: Body | None = None,
        conditions: Conditions | None = None,
        custom_headers: Mapping[str, str] | None = None,
    ) -> None:
        """Made by `SimulatedTelnyx`; `body`: what an outgoing call was asked to do."""
        self.id = account.new_id("v3:")
        self.direction = direction
        self.caller = caller
        self.callee = callee
        self.status: Status = "parked" if direction == "incoming" else "ringing"
        self.cause = ""
        """Why it ended: `normal_clearing`, `user_busy` ..."""
        self.hung_up_by = ""
        """`caller`, `api`, `limit`, `carrier` or `test`."""
        self.rides: list[Ride] = []
        """One for each stream."""
        self.reports: list[Report] = []
        """Webhooks that were sent, in order."""
        self.errors: list[str] = []
        """What the server did wrong."""
        self.commands: list[str] = []
        """Verbs of the commands that were obeyed."""
        self.words: list[str] = []
        """What Telnyx's own voice said."""
        self.digits: list[str] = []
        """Keys that `send_dtmf` pressed."""
        self.transfers: list[str] = []
        """Numbers and URIs that `transfer` called."""
        self.partner: SimulatedTelnyxCall | None = None
        """The leg that it is bridged with."""
        self.is_on_hold = False
        """Whether a playback is running."""
        self._bridges_with: SimulatedTelnyxCall | None = None
        self._legs: list[SimulatedTelnyxCall] = []
        self.failure: BaseException | None = None
        """What the caller's script raised."""
        self.client_state: str | None = None
        self.answered_at: Instant | None = None
        self.ended_at: Instant | None = None
        self._headers = dict(custom_headers or {})
        self._body: Body = body or {}
        self._account = account
        self._person = person
        self._conditions = conditions or Conditions()
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskNest(f"call {self.id[:6]}")
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._limit: asyncio.TimerHandle | None = None
        self._done = asyncio.Event()
        self._changed = asyncio.Event()
        self._outbox: asyncio.Queue[tuple[str, dict[str, Any]] | None] = asyncio.Queue()
        self._recordings: list[tuple[str, Body]] = []
        self.handset = Handset(
            voice=person.voice, hang_up=lambda: self.end("caller"), wake=self._wake_ride
        )
        self._remember(self._body)

    # --------------------------------------------------------------------------------- what tests ask

    @property
    def leg(self) -> TelnyxLeg:
        """The latest stream."""
        leg = self.rides[-1].leg
        assert isinstance(leg, TelnyxLeg)
        return leg

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.status == "hangup"

    @property
    def duration_s(self) -> float:
        """Seconds from answer to end, or so far."""
        if self.answered_at is None:
            return 0.0
        return (self.ended_at or self._loop.time()) - self.answered_at

    @property
    def complaints(self) -> list[str]:
        """What Telnyx found wrong with frames of any stream."""
        return [f"{each.code} {each.text}" for ride in self.rides for each in ride.leg.complaints]

    def tape(self, stream: int = -1) -> Tape:
        """Both sides of a stream as they were up to now, or to its end."""
        play, microphone = self.rides[stream].leg.play, self.rides[stream].leg.microphone
        now = self.ended_at if self.ended_at is not None else self._loop.time()
        if not self.rides[stream].is_open:
            spoken_s = microphone.format.ms(len(microphone.said)) / 1000
            now = min(now, play.began + spoken_s + _SAMPLE_S)
        tape = Tape(play, microphone, Instant(now))
        tape.said = resampled(tape.said, microphone.format.sample_rate, tape.sample_rate)
        return tape

    def delivered(self, kind: str) -> list[dict[str, Any]]:
        """The payloads of all webhooks of a kind."""
        return [each.payload for each in self.reports if each.kind == kind]

    async def ended(self, within_s: float = 60.0) -> None:
        """Wait until the call is over and the server was told; raises what the caller's script raised."""
        async with asyncio.timeout(within_s):
            await self._done.wait()
        if self.failure is not None:
            raise self.failure

    async def until(
        self, wanted: Callable[[SimulatedTelnyxCall], object], within_s: float = 60.0
    ) -> None:
        """Wait until something is true of the call; asked whenever it changes."""
        async with asyncio.timeout(within_s):
            while not wanted(self):
                self._changed.clear()
                await self._changed.wait()

    # --------------------------------------------------------------------------------- what steers it

    def begin(self) -> None:
        """Ring."""
        self._tasks.spawn(self._live(), "life")

    def end(self, by: str, cause: str = "normal_clearing") -> None:
        """Hang up, whoever does it. Idempotent."""
        if not self._end.done():
            self.hung_up_by = by
            if by == "caller" and self.direction == "incoming" and self.answered_at is None:
                cause = "originator_cancel"
            self.cause = cause
            self.ended_at = Instant(self._loop.time())
            self.status = "hangup"
            self._changed.set()
            self._end.set_result(None)
            if self.partner is not None:
                self.partner.end("carrier")
            for leg in self._legs:
                leg.end("carrier", "originator_cancel")

    async def close(self) -> None:
        """Drop everything, whatever state it is in."""
        if self._limit is not None:
            self._limit.cancel()
        await self._tasks.close()

    def command(self, verb: str, body: Body) -> Mapping[str, object]:
        """Obey a command; raises `ApiError` when that cannot be done now."""
        if self.is_over:
            raise ApiError(422, "90018", "Call has already ended")
        if verb not in {"answer", "reject", "hangup"} and self.answered_at is None:
            raise ApiError(422, "90034", "Call has not been answered yet")
        self._remember(body)
        act: Callable[[Body], None] = getattr(self, f"_do_{verb}")
        act(body)
        self.commands.append(verb)
        self._changed.set()
        return {"result": "ok"}

    def _do_answer(self, body: Body) -> None:
        if self.direction != "incoming" or self.answered_at is not None:
            raise ApiError(422, "90052", "The call cannot be answered")
        self._answered(body)

    def _do_reject(self, body: Body) -> None:
        self.end("api", {"USER_BUSY": "user_busy"}.get(body["cause"], "call_rejected"))

    def _do_hangup(self, _: Body) -> None:
        self.end("api")

    def _do_streaming_start(self, body: Body) -> None:
        if any(ride.is_open for ride in self.rides):
            raise ApiError(422, "90045", "The call is streaming already")
        self._tasks.spawn(self._stream(body), "stream")

    def _do_record_start(self, body: Body) -> None:
        self._recordings.append((self._account.new_id(""), body))

    def _do_send_dtmf(self, body: Body) -> None:
        self.digits.append(body["digits"])

    def _do_speak(self, body: Body) -> None:
        if not 0 < len(body["payload"]) <= 3000:  # noqa: PLR2004
            raise ApiError(422, "10015", "payload is too long", "/payload")
        self._tasks.spawn(self._speak(body["payload"]), "speak")

    def _do_transfer(self, body: Body) -> None:
        self.transfers.append(body["to"])
        leg = self._account.leg_of(self, body)
        leg.answers_to(self)
        self._legs.append(leg)

    def _do_bridge(self, body: Body) -> None:
        other = self._account.find(str(body["call_control_id"]))
        if other.is_over or other.answered_at is None:
            raise ApiError(422, "90034", "The other call has not been answered yet")
        self.bridge(other)

    def _do_playback_start(self, body: Body) -> None:
        if not any(body.get(name) for name in ("audio_url", "media_name", "playback_content")):
            raise ApiError(422, "10015", "There is nothing to play", "/audio_url")
        self.is_on_hold = True
        self._report("call.playback.started", {"overlay": False})

    def _do_playback_stop(self, _: Body) -> None:
        if self.is_on_hold:
            self.is_on_hold = False
            self._report("call.playback.ended", {"overlay": False, "status": "cancelled"})

    # ----------------------------------------------------------------------------------------- bridges

    def answers_to(self, call: SimulatedTelnyxCall) -> None:
        """This is the new leg of a transfer of `call`: bridge them when somebody answers."""
        self._bridges_with = call

    def bridge(self, other: SimulatedTelnyxCall) -> None:
        """Let both hear each other until one hangs up, which ends the other."""
        self.partner, other.partner = other, self
        for each in (self, other):
            each.note_bridged()
        (self if self._bridges_with is other else other).talk()

    def note_bridged(self) -> None:
        """Report it."""
        self._report("call.bridged", {})
        self._changed.set()

    def talk(self) -> None:
        """Somebody who was called talks as long as they like, and hangs up."""
        callee = self._account.callees.get(self.callee) or Callee()
        self._loop.call_later(callee.talks_s, self.end, "caller")

    # ------------------------------------------------------------------------------------------- life

    async def _live(self) -> None:
        sending = self._tasks.spawn(self._send_reports(), "reports")
        life = self._incoming() if self.direction == "incoming" else self._outgoing()
        work = self._tasks.spawn(life, "work")
        await asyncio.wait({self._end})
        work.cancel()
        if self._limit is not None:
            self._limit.cancel()
        for ride in self.rides:
            ride.end()
        self.handset.over()
        facts = {"state": "hangup", "hangup_cause": self.cause, "hangup_source": self._source()}
        self._report("call.hangup", facts)
        for recording_id, body in self._recordings:
            self._report_recording(recording_id, body)
        self._outbox.put_nowait(None)
        await sending
        if self._account.costs_reported_after_s is not None:
            self._tasks.spawn(self._report_cost(self._account.costs_reported_after_s), "cost")
        self._done.set()

    async def _incoming(self) -> None:
        self._report("call.initiated", self._ringing_facts("parked"))
        await asyncio.sleep(_CALLER_WAITS_S)
        if self.answered_at is None:
            self.end("caller")

    async def _outgoing(self) -> None:
        callee = self._account.callees.get(self.callee) or Callee()
        self._report("call.initiated", self._ringing_facts("bridging"))
        limit = float(self._body.get("timeout_secs", 30))
        await asyncio.sleep(min(callee.rings_s, limit))
        if callee.rings_s > limit:
            self.end("carrier", "timeout")
        elif callee.outcome != "answered":
            self.end("carrier", _HANGUP_CAUSES[callee.outcome])
        else:
            self._answered(self._body)
            if callee.hangs_up_after_s is not None:
                self._loop.call_later(callee.hangs_up_after_s, self.end, "caller")
            if self._bridges_with is not None and not self._bridges_with.is_over:
                self.bridge(self._bridges_with)
            if self._body.get("answering_machine_detection", "disabled") != "disabled":
                self._tasks.spawn(self._judge(callee), "machine detection")

    def _ringing_facts(self, state: str) -> dict[str, Any]:
        headers = [{"name": name, "value": value} for name, value in self._headers.items()]
        return {"direction": self.direction, "state": state, "custom_headers": headers}

    def _answered(self, body: Body) -> None:
        self.answered_at = Instant(self._loop.time())
        self.status = "answered"
        self._changed.set()
        self._report("call.answered", {"state": "answered"})
        limit = float(self._body.get("time_limit_secs", LONGEST_CALL_S))
        self._limit = self._loop.call_at(self.answered_at + limit, self.end, "limit", "time_limit")
        self._tasks.spawn(self._perform(), "person")
        if body.get("stream_url"):
            self._tasks.spawn(self._stream(body), "stream")

    async def _perform(self) -> None:
        try:
            await self._person(self.handset)
        except HungUpError:
            pass
        except Exception as error:  # noqa: BLE001 - told by ended()
            self.failure = error
            self.end("caller")

    async def _judge(self, callee: Callee) -> None:
        """Words of the callee's detector (`human`, `machine_end_beep`, `fax` ...) become Telnyx's."""
        await asyncio.sleep(callee.verdict_after_s)
        is_machine = callee.answered_by.startswith("machine")
        words = {"human": "human", "fax": "fax_detected"}
        result = "machine" if is_machine else words.get(callee.answered_by, "not_sure")
        self._report("call.machine.detection.ended", {"result": result})
        if is_machine:
            await asyncio.sleep(_GREETING_S)
            ended = "beep_detected" if "beep" in callee.answered_by else "ended"
            self._report("call.machine.greeting.ended", {"result": ended})

    async def _speak(self, text: str) -> None:
        self._report("call.speak.started", {})
        self.words.append(text)
        await asyncio.sleep(_SAYS_S_PER_LETTER * len(text))
        self._report("call.speak.ended", {"status": "completed"})

    # ------------------------------------------------------------------------------------------ stream

    async def _stream(self, body: Body) -> None:
        stream_id = self._account.new_id("").upper()
        shown = {"stream_url": body["stream_url"], "stream_id": stream_id}
        if body.get("stream_bidirectional_mode") != "rtp":
            self.errors.append("a stream without stream_bidirectional_mode=rtp hears nothing")
        said = _format(body, "stream_bidirectional_codec")
        habits = self._account.habits
        if habits.fails_l16 and said.encoding is Encoding.PCM16:
            self._not_streaming(shown, "codec_not_supported")
            return
        heard = habits.announces or _format(body, "stream_codec")
        state = body.get("client_state", self.client_state)
        facts = StreamFacts(stream_id, self.id, self.caller, self.callee, state, heard, said)

        def new_leg(now: Instant) -> TelnyxLeg:
            return TelnyxLeg(
                now,
                facts,
                byte_order=habits.byte_order,
                reorders=habits.reorders,
                conditions=self._conditions,
            )

        ride = Ride(new_leg, on_tick=self.handset.tick)
        try:
            await ride.open(self._account.network, body["stream_url"], {})
        except UpgradeRefusedError as refused:
            self.errors.append(f"the upgrade was answered {refused.status}")
            self._not_streaming(shown, "connection_failed")
            return
        self.rides.append(ride)
        self.handset.connect(ride.leg)
        self._changed.set()
        self._report("streaming.started", shown)
        await asyncio.shield(ride.closed)
        self._changed.set()
        self._report("streaming.stopped", shown)

    def _not_streaming(self, shown: Mapping[str, Any], reason: str) -> None:
        track = {"stream_url": shown["stream_url"], "track": "inbound_track"}
        facts = {"failure_reason": reason, "stream_params": track, "stream_type": "websocket"}
        self._report("streaming.failed", {"stream_id": shown["stream_id"], **facts})

    # --------------------------------------------------------------------------------------- reports

    def _report(self, event: str, facts: Mapping[str, Any]) -> None:
        payload: dict[str, Any] = {
            "call_control_id": self.id,
            "call_leg_id": f"leg-{self.id}",
            "call_session_id": f"session-{self.id}",
            "connection_id": self._account.connection_id,
            "client_state": self.client_state,
            "from": self.caller,
            "to": self.callee,
            "start_time": self._account.date(),
            **facts,
        }
        if event.startswith("call.recording."):  # documented without the id of the call
            del payload["call_control_id"]
        self._outbox.put_nowait((event, payload))

    def _report_recording(self, recording_id: str, body: Body) -> None:
        kind = body["format"]
        facts = {
            "recording_id": recording_id,
            "channels": body["channels"],
            "format": kind,
            "recording_started_at": "2026-02-02T22:25:27.500000Z",
            "recording_ended_at": "2026-02-02T22:25:39.500000Z",
            "recording_urls": {kind: f"https://recordings.example/{recording_id}.{kind}"},
        }
        self._report("call.recording.saved", facts)

    async def _report_cost(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        seconds = ceil(self.duration_s / 6) * 6
        total = f"{seconds / 60 * _RATE:.4f}"
        part = {"billed_duration_secs": seconds, "call_part": "sip-trunking", "cost": total}
        payload: dict[str, Any] = {
            "call_control_id": self.id,
            "call_leg_id": f"leg-{self.id}",
            "call_session_id": f"session-{self.id}",
            "connection_id": self._account.connection_id,
            "client_state": self.client_state,
            "billed_duration_secs": seconds,
            "cost_parts": [{**part, "currency": "USD", "rate": str(_RATE)}],
            "status": "success",
            "total_cost": total,
        }
        await self._account.deliver(self, "call.cost", payload)

    async def _send_reports(self) -> None:
        while (item := await self._outbox.get()) is not None:
            event, payload = item
            await self._account.deliver(self, event, payload)
            self._changed.set()

    def _source(self) -> str:
        return {"caller": "caller", "api": "callee"}.get(self.hung_up_by, "unknown")

    def _remember(self, body: Body) -> None:
        self.client_state = body.get("client_state", self.client_state)

    def _wake_ride(self) -> None:
        if self.rides:
            self.rides[-1].wake_soon()


def _format(body: Body, name: str) -> AudioFormat:
    codec = body.get(name, "PCMU")
    if codec == "L16":
        return AudioFormat(
            Encoding.PCM16, int(body.get("stream_bidirectional_sampling_rate", 8000))
        )
    return AudioFormat(_CODECS.get(codec, Encoding.MULAW), MULAW_8K.sample_rate)
