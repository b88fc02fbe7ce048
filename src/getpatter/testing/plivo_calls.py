"""One simulated call of Plivo: rings, follows XML documents, streams, reports, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final, Literal, Protocol
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from getpatter.net.tasks import TaskNest
from getpatter.testing.callees import Callee
from getpatter.testing.callers import Handset, HungUpError, Program
from getpatter.testing.line import Conditions, Tape
from getpatter.testing.network import Network, UpgradeRefusedError
from getpatter.testing.plivo_api import Body
from getpatter.testing.plivo_leg import PlivoLeg
from getpatter.testing.plivo_rooms import ATTRIBUTES, Room, Rooms
from getpatter.testing.ride import Ride
from getpatter.types import Instant

Status = Literal[
    "ringing", "in-progress", "completed", "busy", "no-answer", "failed", "timeout", "cancel"
]
FINAL: Final = frozenset({"completed", "busy", "no-answer", "failed", "timeout", "cancel"})

_SAYS_S_PER_LETTER: Final = 0.06
_SAMPLE_S: Final = 1 / 8000
LONGEST_CALL_S: Final = 4 * 3600.0
_DIAL: Final = """
action method hangupOnStar timeLimit timeout callerId callerName confirmSound confirmKey confirmTimeout dialMusic
callbackUrl callbackMethod redirect digitsMatch digitsMatchBLeg sipHeaders
"""
_DIAL_ATTRIBUTES: Final = frozenset(_DIAL.split())


@dataclass(slots=True)
class Delivery:
    """A webhook that was sent."""

    kind: str
    """`answer`, `ring`, `hangup`, `machine`, `recording`, `redirect`, `dial` or `conference`."""
    url: str
    form: dict[str, str] = field(repr=False)
    status: int
    """HTTP status of the server's answer; 0 for none."""


class Account(Protocol):
    """What a call needs of its account."""

    auth_id: str
    network: Network
    callees: dict[str, Callee]
    rooms: Rooms

    def new_id(self) -> str:
        """A fresh id."""
        ...

    async def deliver(
        self, call: SimulatedPlivoCall, kind: str, url: str, form: Mapping[str, str]
    ) -> str:
        """Send a signed webhook; returns the answer's body, empty when it was no success."""
        ...


class SimulatedPlivoCall:
    """One call, from the first ring to the last webhook."""

    def __init__(  # noqa: PLR0913, PLR0915 - what a call is made of, and all that tests may ask of it
        self,
        account: Account,
        *,
        direction: Literal["inbound", "outbound"],
        caller: str,
        callee: str,
        person: Program,
        body: Body,
        conditions: Conditions | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Made by `SimulatedPlivo`; `body`: the parameters of the dial request, or those of the application."""
        self.id = account.new_id()
        self.request_id = account.new_id() if direction == "outbound" else ""
        """What the dial request was answered with."""
        self.direction = direction
        self.caller = caller
        """Who rings, as Plivo writes it: without `+`."""
        self.callee = callee
        self.status: Status = "ringing"
        self.hung_up_by = ""
        """`caller`, `api`, `document`, `limit`, `carrier` or `test`."""
        self.rides: list[Ride] = []
        """One for each stream."""
        self.deliveries: list[Delivery] = []
        """Webhooks that were sent, in order."""
        self.errors: list[str] = []
        """What the server did wrong."""
        self.verbs: list[str] = []
        """Tags of the XML that was executed."""
        self.words: list[str] = []
        """What Plivo's own voice said."""
        self.digits: list[str] = []
        """Keys that the REST API pressed."""
        self.transfers: list[str] = []
        """Numbers and URIs that `<Dial>` called."""
        self.rooms: list[Room] = []
        """Conferences it was in."""
        self.failure: BaseException | None = None
        """What the caller's script raised."""
        self.answered_at: Instant | None = None
        self.ended_at: Instant | None = None
        self._account = account
        self._person = person
        self._body = body
        self._conditions = conditions or Conditions()
        self._headers = dict(headers or {})
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskNest(f"call {self.id[:6]}")
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._redirect: asyncio.Future[None] = self._loop.create_future()
        self._next_url = ""
        self._limit: asyncio.TimerHandle | None = None
        self._done = asyncio.Event()
        self._changed = asyncio.Event()
        self._recordings: list[tuple[str, Body]] = []
        self._callback_order = asyncio.Lock()
        self.handset = Handset(
            voice=person.voice, hang_up=lambda: self.end("caller"), wake=self._wake_ride
        )

    # --------------------------------------------------------------------------------- what tests ask

    @property
    def leg(self) -> PlivoLeg:
        """The latest stream."""
        leg = self.rides[-1].leg
        assert isinstance(leg, PlivoLeg)
        return leg

    @property
    def is_over(self) -> bool:
        """Whether it has a final status."""
        return self.status in FINAL

    @property
    def duration_s(self) -> float:
        """Seconds from answer to end, or so far."""
        if self.answered_at is None:
            return 0.0
        return (self.ended_at or self._loop.time()) - self.answered_at

    @property
    def complaints(self) -> list[str]:
        """What Plivo would not have accepted of the frames of any stream."""
        return [each.text for ride in self.rides for each in ride.leg.complaints]

    def tape(self, stream: int = -1) -> Tape:
        """Both sides of a stream as they were up to now, or to its end."""
        play, microphone = self.rides[stream].leg.play, self.rides[stream].leg.microphone
        now = self.ended_at if self.ended_at is not None else self._loop.time()
        if not self.rides[stream].is_open:
            spoken_s = microphone.format.ms(len(microphone.said)) / 1000
            now = min(now, play.began + spoken_s + _SAMPLE_S)
        return Tape(play, microphone, Instant(now))

    def delivered(self, kind: str) -> list[dict[str, str]]:
        """The forms of all webhooks of a kind."""
        return [each.form for each in self.deliveries if each.kind == kind]

    async def ended(self, within_s: float = 60.0) -> None:
        """Wait until the call is over and the server was told; raises what the caller's script raised."""
        async with asyncio.timeout(within_s):
            await self._done.wait()
        if self.failure is not None:
            raise self.failure

    async def until(
        self, wanted: Callable[[SimulatedPlivoCall], object], within_s: float = 60.0
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

    def end(self, by: str, status: Status = "completed") -> None:
        """Hang up, whoever does it. Idempotent."""
        if not self._end.done():
            self.hung_up_by = by
            self.ended_at = Instant(self._loop.time())
            self.status = status
            self._changed.set()
            self._end.set_result(None)

    def redirect(self, url: str) -> None:
        """Abandon what is running and follow the document at `url`; the latest counts."""
        self._next_url = url
        if not self._redirect.done():
            self._redirect.set_result(None)

    def record(self, body: Body) -> str:
        """Record from now on; returns the id of the recording."""
        recording_id = self._account.new_id()
        self._recordings.append((recording_id, body))
        return recording_id

    async def close(self) -> None:
        """Drop everything, whatever state it is in."""
        if self._limit is not None:
            self._limit.cancel()
        await self._tasks.close()

    # ------------------------------------------------------------------------------------------- life

    async def _live(self) -> None:
        life = self._outbound() if self.direction == "outbound" else self._answered("StartApp")
        work = self._tasks.spawn(life, "work")
        await asyncio.wait({work, self._end}, return_when=asyncio.FIRST_COMPLETED)
        if not self._end.done():
            self.end("document")
        work.cancel()
        await asyncio.wait({work})
        if self._limit is not None:
            self._limit.cancel()
        for ride in self.rides:
            ride.end()
        self.handset.over()
        await self._tell(
            "hangup", self._body.get("hangup_url"), {"Event": "Hangup", **self._bill()}
        )
        for recording_id, body in self._recordings:
            await self._tell_recording(recording_id, body)
        self._done.set()

    def _bill(self) -> dict[str, str]:
        return {
            "Duration": str(round(self.duration_s)),
            "BillDuration": str(ceil(self.duration_s / 60) * 60),
            "HangupCause": "NORMAL_CLEARING",
        }

    async def _outbound(self) -> None:
        callee = self._account.callees.get(self.callee) or Callee()
        await self._tell("ring", self._body.get("ring_url"), {"Event": "Ring"})
        limit = float(self._body.get("ring_timeout", 120))
        await asyncio.sleep(min(callee.rings_s, limit))
        if callee.rings_s > limit:
            self.end("carrier", "timeout")
        elif callee.outcome != "answered":
            self.end("carrier", callee.outcome)
        else:
            if callee.hangs_up_after_s is not None:
                self._loop.call_later(callee.hangs_up_after_s, self.end, "caller")
            if self._body.get("machine_detection"):
                self._tasks.spawn(self._judge(callee), "machine detection")
            await self._answered("StartApp")

    async def _answered(self, event: str) -> None:
        is_outbound = self.direction == "outbound"
        if is_outbound:
            self._up()
        url = str(self._body.get("answer_url") or "")
        document = await self._account.deliver(self, "answer", url, self._form({"Event": event}))
        first = _first_verb(document)
        if first is not None and first.tag == "Hangup" and not is_outbound:
            self.verbs.append("Hangup")
            self.end("document", "busy" if first.get("reason") == "busy" else "failed")
            return
        if not is_outbound:
            self._up()
        await self._talk(document)

    def _up(self) -> None:
        self.answered_at = Instant(self._loop.time())
        self.status = "in-progress"
        self._changed.set()
        limit = float(self._body.get("time_limit", LONGEST_CALL_S))
        self._limit = self._loop.call_at(self.answered_at + limit, self.end, "limit")
        self._tasks.spawn(self._perform(), "person")

    async def _perform(self) -> None:
        try:
            await self._person(self.handset)
        except HungUpError:
            pass
        except Exception as error:  # noqa: BLE001 - told by ended()
            self.failure = error
            self.end("caller")

    async def _judge(self, callee: Callee) -> None:
        await asyncio.sleep(callee.verdict_after_s)
        is_machine = callee.answered_by.startswith("machine")
        form = {"Event": "MachineDetection", "Machine": "true" if is_machine else "false"}
        await self._tell("machine", self._body.get("machine_detection_url"), form)

    # ------------------------------------------------------------------------------------- documents

    async def _talk(self, document: str) -> None:
        """Follow documents, one redirect after the other, until one comes to its end."""
        while True:
            self._redirect = self._loop.create_future()
            work = self._tasks.spawn(self._follow(document), "document")
            waiting: set[asyncio.Future[Any]] = {work, self._redirect}
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not work.done():
                    work.cancel()
                    await asyncio.wait({work})
            if not self._redirect.done():
                return
            url, document = "", ""
            while url != self._next_url:  # redirected again while the document is fetched
                url = self._next_url
                form = self._form({"Event": "Redirect"})
                document = await self._account.deliver(self, "redirect", url, form)

    async def _follow(self, document: str) -> None:
        try:
            root = ET.fromstring(document.encode())  # noqa: S314 - the document of the program under test
        except ET.ParseError as error:
            self.errors.append(f"the document is not XML: {error}")
            return
        for verb in root:
            self.verbs.append(verb.tag)
            match verb.tag:
                case "Hangup":
                    return
                case "Stream":
                    await self._stream(verb)
                case "Speak":
                    self.words.append(verb.text or "")
                    self._changed.set()
                    await asyncio.sleep(_SAYS_S_PER_LETTER * len(verb.text or ""))
                case "Dial" | "Conference":
                    act = self._dial if verb.tag == "Dial" else self._confer
                    following = await act(verb)
                    if following is not None:
                        await self._follow(following)
                        return
                case _:
                    self.errors.append(f"<{verb.tag}> is not simulated")
                    return

    async def _stream(self, verb: ET.Element) -> None:
        url = (verb.text or "").strip()
        if urlsplit(url).scheme != "wss":
            self.errors.append("not a wss URL")
            return
        wanted = {"bidirectional": "true", "keepCallAlive": "true"}
        for name, value in {**wanted, "contentType": "audio/x-mulaw;rate=8000"}.items():
            if verb.get(name) != value:
                self.errors.append(f"<Stream> without {name}={value}")
        stream_id = self._account.new_id()

        def new_leg(now: Instant) -> PlivoLeg:
            return PlivoLeg(
                now,
                stream_id=stream_id,
                call_id=self.id,
                account_id=self._account.auth_id,
                conditions=self._conditions,
            )

        ride = Ride(new_leg, on_tick=self.handset.tick)
        try:
            await ride.open(self._account.network, url, {})
        except UpgradeRefusedError as refused:
            self.errors.append(f"the upgrade was answered {refused.status}")
            return
        self.rides.append(ride)
        self.handset.connect(ride.leg)
        self._changed.set()
        try:
            await asyncio.shield(ride.closed)
        finally:
            ride.end()
            self._changed.set()

    async def _dial(self, verb: ET.Element) -> str | None:
        to = next((each.text or "" for each in verb), "")
        self._check(verb, _DIAL_ATTRIBUTES)
        self.transfers.append(to)
        self._changed.set()
        callee = self._account.callees.get(to) or Callee()
        timeout = float(verb.get("timeout", "120"))
        child = self._account.new_id()
        await asyncio.sleep(min(callee.rings_s, timeout))
        status: str = callee.outcome if callee.rings_s <= timeout else "no-answer"
        legs = {"DialALegUUID": self.id, "DialBLegUUID": child}
        if status == "answered":
            status = "completed"
            for event in ("answer", "connected"):
                self._call_back(verb, {**legs, "DialAction": event, "DialBLegStatus": event})
            stays = callee.hangs_up_after_s
            await asyncio.sleep(callee.talks_s if stays is None else stays)
            self._call_back(verb, {**legs, "DialAction": "hangup", "DialBLegStatus": "hangup"})
        else:
            legs["DialBLegUUID"] = ""
        causes = {"completed": "NORMAL_CLEARING", "busy": "USER_BUSY", "no-answer": "NO_ANSWER"}
        cause = causes.get(status, "CALL_REJECTED")
        ended = {"DialRingStatus": "true", "DialHangupCause": cause, "DialStatus": status, **legs}
        return await self._after(verb, "dial", ended)

    async def _confer(self, verb: ET.Element) -> str | None:
        self._check(verb, ATTRIBUTES)
        room = self._account.rooms.room(verb.text or "")
        self.rooms.append(room)
        self._changed.set()
        if self.direction == "outbound":
            self._tasks.spawn(self._talk_in(room), "talk")

        def tell(url: str, form: Mapping[str, str]) -> None:
            self._soon("conference", url, form)

        await room.stay(self.id, verb, tell)
        return await self._after(verb, "conference", {"ConferenceName": room.name})

    async def _talk_in(self, room: Room) -> None:
        """Somebody who was called talks as long as they like, and hangs up."""
        await room.started()
        callee = self._account.callees.get(self.callee) or Callee()
        await asyncio.sleep(callee.talks_s)
        if room.members[:1] != [self.id]:
            self.end("caller")

    def _check(self, verb: ET.Element, known: frozenset[str]) -> None:
        unknown = set(verb.attrib) - known
        if unknown:
            self.errors.append(f"<{verb.tag}> has no {sorted(unknown)}")

    def _call_back(self, verb: ET.Element, form: Mapping[str, str]) -> None:
        self._soon("dial", verb.get("callbackUrl", ""), form)

    def _soon(self, kind: str, url: str, form: Mapping[str, str]) -> None:
        if url and not self._tasks.is_closed:
            self._tasks.spawn(self._told_in_order(kind, url, form), kind)

    async def _told_in_order(self, kind: str, url: str, form: Mapping[str, str]) -> None:
        async with self._callback_order:
            await self._tell(kind, url, form)

    async def _after(self, verb: ET.Element, kind: str, form: Mapping[str, str]) -> str | None:
        """The document of the `action` URL, if the verb has one."""
        url = verb.get("action")
        if not url:
            return None
        return await self._account.deliver(self, kind, url, self._form(form))

    # --------------------------------------------------------------------------------------- reports

    def _form(self, more: Mapping[str, str]) -> dict[str, str]:
        form = {
            "CallUUID": self.id,
            "From": self.caller,
            "To": self.callee,
            "CallStatus": self.status,
            "Direction": self.direction,
            "ForwardedFrom": "",
            **self._headers,
            **more,
        }
        if self.direction == "outbound":
            form |= {"ALegUUID": self.id, "ALegRequestUUID": self.request_id}
            form["RequestUUID"] = self.request_id
        return form

    async def _tell(self, kind: str, url: object, more: Mapping[str, str]) -> None:
        if url:
            await self._account.deliver(self, kind, str(url), self._form(more))
            self._changed.set()

    async def _tell_recording(self, recording_id: str, body: Body) -> None:
        kind = body.get("file_format", "mp3")
        form = {
            "api_id": "simulated",
            "call_uuid": self.id,
            "recording_id": recording_id,
            "record_url": f"https://recordings.example/{recording_id}.{kind}",
            "recording_duration": str(round(self.duration_s)),
            "recording_duration_ms": str(round(self.duration_s * 1000)),
        }
        if body.get("callback_url"):
            await self._account.deliver(self, "recording", str(body["callback_url"]), form)

    def _wake_ride(self) -> None:
        if self.rides:
            self.rides[-1].wake_soon()


def _first_verb(document: str) -> ET.Element | None:
    try:
        root = ET.fromstring(document.encode())  # noqa: S314 - the document of the program under test
    except ET.ParseError:
        return None
    return next(iter(root), None)
