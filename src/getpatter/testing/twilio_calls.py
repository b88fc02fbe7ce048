"""One simulated call of Twilio: rings, follows TwiML, streams, reports, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree as ET

from getpatter.net.tasks import TaskNest
from getpatter.testing.callees import Callee
from getpatter.testing.callers import Handset, HungUpError, Program
from getpatter.testing.line import Conditions, Tape
from getpatter.testing.network import Network, UpgradeRefusedError
from getpatter.testing.ride import Ride
from getpatter.testing.twilio_deeds import Delivery, Orders
from getpatter.testing.twilio_leg import TwilioLeg
from getpatter.testing.twilio_rooms import Room
from getpatter.types import Instant

_T = TypeVar("_T")

Status = Literal[
    "queued", "ringing", "in-progress", "completed", "busy", "no-answer", "failed", "canceled"
]
FINAL: Final = frozenset({"completed", "busy", "no-answer", "failed", "canceled"})

_SAYS_S_PER_LETTER: Final = 0.06
_KEY_S: Final = 0.25
_DIAL_TIMEOUT_S: Final = 30.0


class Exchange(Protocol):
    """What a call needs of its account."""

    account_sid: str
    network: Network
    callees: dict[str, Callee]

    def new_sid(self, prefix: str) -> str:
        """A fresh id."""
        ...

    def room(self, name: str) -> Room:
        """The conference of this name that is running, or a new one."""
        ...

    def date(self) -> str:
        """Now, as RFC 2822 says it."""
        ...

    async def deliver(
        self, call: SimulatedCall, kind: str, url: str, form: Mapping[str, str]
    ) -> bytes:
        """Send a signed webhook; returns the answer's body, empty when it was no success."""
        ...

    def sign(self, url: str, form: Mapping[str, str]) -> str:
        """`X-Twilio-Signature` of a request."""
        ...


class SimulatedCall:
    """One call, from the first ring to the last webhook."""

    def __init__(  # noqa: PLR0913, PLR0915 - what a call is made of, and all that tests may ask of it
        self,
        exchange: Exchange,
        *,
        direction: Literal["inbound", "outbound-api"],
        caller: str,
        callee: str,
        person: Program,
        orders: Orders | None = None,
        conditions: Conditions | None = None,
    ) -> None:
        """Made by `SimulatedTwilio`."""
        self.sid = exchange.new_sid("CA")
        self.direction = direction
        self.caller = caller
        """Who rings: `From`."""
        self.callee = callee
        """Who is rung: `To`."""
        self.status: Status = "ringing" if direction == "inbound" else "queued"
        self.history: list[tuple[Instant, str]] = []
        """Each status and when it was reached."""
        self.rides: list[Ride] = []
        """One for each stream."""
        self.deliveries: list[Delivery] = []
        """Webhooks that were sent, in order."""
        self.errors: list[tuple[int, str]] = []
        """What Twilio's debugger would show: code and text."""
        self.verbs: list[str] = []
        """Tags of the TwiML that was executed."""
        self.words: list[str] = []
        """What Twilio's own voice said."""
        self.digits: list[str] = []
        """Keys that `<Play digits>` pressed."""
        self.transfers: list[str] = []
        """Numbers, URIs and conferences that `<Dial>` called."""
        self.rooms: list[Room] = []
        """Conferences it was in."""
        self.recordings: list[str] = []
        self.answered_by: str | None = None
        self.failure: BaseException | None = None
        """What the caller's script raised."""
        self.hung_up_by: str = ""
        """`caller`, `api`, `document` or `limit`."""
        self.orders = orders or Orders()
        self.answered_at: Instant | None = None
        self.ended_at: Instant | None = None
        self._exchange = exchange
        self._person = person
        self._conditions = conditions or Conditions()
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskNest(f"call {self.sid[:6]}")
        self._callback_order = asyncio.Lock()
        self._sequence = 0
        self._end: asyncio.Future[Status] = self._loop.create_future()
        self._redirect: asyncio.Future[None] | None = None
        self._next_document = ""
        self._limit: asyncio.TimerHandle | None = None
        self._done = asyncio.Event()
        self._reports: list[asyncio.Task[object]] = []
        self._changed = asyncio.Event()
        self.at_end: list[Callable[[], Awaitable[None]]] = []
        """Run when the call is over, before `ended()` returns."""
        self.handset = Handset(
            voice=person.voice, hang_up=lambda: self.end("caller"), wake=self._wake_ride
        )
        self._reach(self.status)

    # --------------------------------------------------------------------------------- what tests ask

    @property
    def leg(self) -> TwilioLeg:
        """The latest stream."""
        leg = self.rides[-1].leg
        assert isinstance(leg, TwilioLeg)
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
        """What Twilio found wrong with frames of any stream."""
        return [f"{each.code} {each.text}" for ride in self.rides for each in ride.leg.complaints]

    def tape(self, stream: int = -1) -> Tape:
        """Both sides of a stream as they were up to now, or to its end."""
        play = self.rides[stream].leg.play
        microphone = self.rides[stream].leg.microphone
        spoken = len(microphone.said) // microphone.format.bytes_per_sample
        now = self.ended_at if self.ended_at is not None else self._loop.time()
        end = (
            Instant(min(now, play.instant(spoken) + 1))
            if not self.rides[stream].is_open
            else Instant(now)
        )
        return Tape(play, microphone, end)

    def delivered(self, kind: str) -> list[dict[str, str]]:
        """The forms of all webhooks of a kind."""
        return [each.form for each in self.deliveries if each.kind == kind]

    async def ended(self, within_s: float = 60.0) -> None:
        """Wait until the call is over and the server was told; raises what the caller's script raised."""
        async with asyncio.timeout(within_s):
            await self._done.wait()
        if self.failure is not None:
            raise self.failure

    async def until(self, status: Status, within_s: float = 60.0) -> None:
        """Wait for a status."""
        async with asyncio.timeout(within_s):
            while self.status != status and not self.is_over:
                self._changed.clear()
                await self._changed.wait()
        assert self.status == status, f"the call is {self.status}, not {status}"

    # --------------------------------------------------------------------------------- what steers it

    def begin(self) -> None:
        """Ring."""
        life = self._inbound if self.direction == "inbound" else self._outbound
        self._tasks.spawn(self._live(life()), "life")

    def end(self, by: str, status: Status = "completed") -> None:
        """Hang up, whoever does it. Idempotent."""
        if not self._end.done():
            self.hung_up_by = by
            self.ended_at = Instant(self._loop.time())
            self._reach(status)
            self._end.set_result(status)

    def redirect(self, document: str) -> None:
        """Abandon what is running and follow another document; the latest counts."""
        self._next_document = document
        if self._redirect is not None and not self._redirect.done():
            self._redirect.set_result(None)

    def limit(self, seconds: float) -> None:
        """End the call so many seconds after its answer."""
        if self._limit is not None:
            self._limit.cancel()
        begun = self._loop.time() if self.answered_at is None else self.answered_at
        self._limit = self._loop.call_at(begun + seconds, self.end, "limit")

    async def close(self) -> None:
        """Drop everything, whatever state it is in."""
        if self._limit is not None:
            self._limit.cancel()
        await self._tasks.close()

    # ------------------------------------------------------------------------------------------- life

    async def _live(self, life: Awaitable[Status]) -> None:
        work = self._tasks.spawn(_awaited(life), "work")
        await asyncio.wait({work, self._end}, return_when=asyncio.FIRST_COMPLETED)
        if self._end.done():
            work.cancel()
            await asyncio.wait({work})
        else:
            self.end("document", work.result())
        if self._limit is not None:
            self._limit.cancel()
        self.handset.over()
        await self._report("completed", last=True)
        for last_work in self.at_end:
            await last_work()
        if self._reports:
            await asyncio.wait(self._reports)
        self._done.set()

    async def _inbound(self) -> Status:
        url = self.orders.url
        body = await self._exchange.deliver(self, "voice", url, self._form())
        if not body:
            self._fail(11200, "the voice webhook gave no document")
            return "failed"
        reject = _first_verb(body.decode("utf-8", "replace"), "Reject")
        if reject is not None:
            self.verbs.append("Reject")
            return "busy" if reject.get("reason") == "busy" else "no-answer"
        self._answered()
        return await self._talk(body.decode("utf-8", "replace"), url)

    async def _outbound(self) -> Status:
        callee = self._exchange.callees.get(self.callee) or Callee()
        orders = self.orders
        await self._report("initiated", shown="initiated")
        self._reach("ringing")
        await self._report("ringing")
        await asyncio.sleep(min(callee.rings_s, orders.ring_timeout_s))
        if callee.rings_s > orders.ring_timeout_s or callee.outcome == "no-answer":
            return "no-answer"
        if callee.outcome != "answered":
            return callee.outcome
        self._answered()
        if callee.hangs_up_after_s is not None:
            self._loop.call_later(callee.hangs_up_after_s, self.end, "caller")
        if orders.detects_machines:
            if orders.detects_beside:
                self._tasks.spawn(self._judge(callee), "machine detection")
            else:
                await asyncio.sleep(callee.verdict_after_s)
                self.answered_by = callee.answered_by
        self._tasks.spawn(self._report("answered"), "answered")
        if orders.twiml:
            return await self._talk(orders.twiml, "")
        body = await self._exchange.deliver(self, "voice", orders.url, self._form())
        if not body:
            self._fail(11200, "the url gave no document")
            return "failed"
        return await self._talk(body.decode("utf-8", "replace"), orders.url)

    def _answered(self) -> None:
        self.answered_at = Instant(self._loop.time())
        self._reach("in-progress")
        self.limit(self.orders.time_limit_s)
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
        self.answered_by = callee.answered_by
        if self.orders.amd_callback and not self._end.done():
            form = {
                "CallSid": self.sid,
                "AccountSid": self._exchange.account_sid,
                "AnsweredBy": callee.answered_by,
                "MachineDetectionDuration": str(round(callee.verdict_after_s * 1000)),
            }
            await self._exchange.deliver(self, "amd", self.orders.amd_callback, form)

    # ------------------------------------------------------------------------------------- documents

    async def _talk(self, document: str, base: str) -> Status:
        """Follow documents, one redirect after the other, until one comes to its end."""
        while True:
            self._redirect = self._loop.create_future()
            work = self._tasks.spawn(self._follow(document, base), "document")
            waiting: set[asyncio.Future[Any]] = {work, self._redirect}
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not work.done():
                    work.cancel()
                    await asyncio.wait({work})
            if not self._redirect.done():
                return work.result()
            document = self._next_document

    async def _follow(self, document: str, base: str) -> Status:
        try:
            root = ET.fromstring(document.encode())  # noqa: S314 - the document of the program under test
        except ET.ParseError as error:
            return self._fail(12100, f"the document is not XML: {error}")
        if root.tag != "Response":
            return self._fail(12100, f"the document begins with {root.tag}")
        for verb in root:
            self.verbs.append(verb.tag)
            match verb.tag:
                case "Hangup":
                    return "completed"
                case "Connect" | "Dial":
                    act = self._connect if verb.tag == "Connect" else self._dial
                    following = await act(verb, base)
                    if following is not None:
                        return await self._follow(following, base)
                case "Say" | "Pause" | "Play":
                    await asyncio.sleep(self._performed(verb))
                case "Redirect":
                    return await self._follow(await self._fetch(verb.text or "", base, {}), base)
                case _:
                    return self._fail(12200, f"<{verb.tag}> is not simulated")
        return "completed"

    def _performed(self, verb: ET.Element) -> float:
        """Seconds that a verb takes whose effect is only heard."""
        text, digits = verb.text or "", verb.get("digits", "")
        if verb.tag == "Pause":
            return float(verb.get("length", "1"))
        if verb.tag == "Say":
            self.words.append(text)
            return _SAYS_S_PER_LETTER * len(text)
        self.digits.append(digits)
        return _KEY_S * len(digits)

    async def _fetch(self, url: str, base: str, extra: Mapping[str, str]) -> str:
        body = await self._exchange.deliver(
            self, "dial", urljoin(base, url), {**self._form(), **extra}
        )
        return body.decode("utf-8", "replace")

    async def _connect(self, verb: ET.Element, base: str) -> str | None:
        stream = verb.find("Stream")
        if stream is None:
            self._fail(12200, "<Connect> without <Stream> is not simulated")
            return "<Response><Hangup/></Response>"
        url = stream.get("url", "")
        parts = urlsplit(url)
        if parts.scheme != "wss" or not parts.hostname:
            self._fail(31922, f"not a wss URL: {parts.scheme}")
        elif parts.query:
            self._fail(31920, "the URL of a stream has no query")
        elif stream.get("track") not in {None, "inbound_track"}:
            self._fail(31941, "only the inbound track of a <Connect>")
        else:
            await self._stream(stream, url)
        action = verb.get("action")
        return await self._fetch(action, base, {}) if action else None

    async def _stream(self, verb: ET.Element, url: str) -> None:
        parameters: dict[str, str] = {}
        for each in verb.findall("Parameter"):
            name, value = each.get("name", ""), each.get("value", "")
            if len(name) + len(value) >= 500:  # noqa: PLR2004
                self._fail(12200, f"the parameter {name} is too long")
            parameters[name] = value
        stream_sid = self._exchange.new_sid("MZ")

        def new_leg(now: Instant) -> TwilioLeg:
            return TwilioLeg(
                now,
                stream_sid=stream_sid,
                call_sid=self.sid,
                account_sid=self._exchange.account_sid,
                parameters=parameters,
                conditions=self._conditions,
            )

        ride = Ride(new_leg, on_tick=self.handset.tick)
        told = verb.get("statusCallback", "")
        headers = {"x-twilio-signature": self._exchange.sign(url, {})}
        try:
            await ride.open(self._exchange.network, url, headers)
        except UpgradeRefusedError as refused:
            self._fail(31920, f"the upgrade was answered {refused.status}")
            self._tell_stream(told, stream_sid, "stream-error", f"31920 {refused.status}")
            return
        self.rides.append(ride)
        self.handset.connect(ride.leg)
        self._tell_stream(told, stream_sid, "stream-started")
        try:
            await asyncio.shield(ride.closed)
        finally:
            ride.end()
            self._tell_stream(told, stream_sid, "stream-stopped")

    def _tell_stream(self, url: str, stream_sid: str, event: str, error: str = "") -> None:
        if not url:
            return
        form = {
            "CallSid": self.sid,
            "AccountSid": self._exchange.account_sid,
            "StreamSid": stream_sid,
            "StreamName": stream_sid,
            "StreamEvent": event,
            "Timestamp": self._exchange.date(),
        }
        if error:
            form["StreamError"] = error
        self._later(lambda: self._exchange.deliver(self, "stream", url, form), event)

    async def _dial(self, verb: ET.Element, base: str) -> str | None:
        target = next((each for each in verb if each.tag in {"Number", "Sip", "Conference"}), None)
        to = (target.text or "") if target is not None else (verb.text or "")
        action = verb.get("action")
        self.transfers.append(to)
        if target is not None and target.tag == "Conference":
            await self._confer(to, target)
            extra = {"DialCallStatus": "answered"}
            return await self._fetch(action, base, extra) if action else None
        child = self._exchange.new_sid("CA")
        callee = self._exchange.callees.get(to) or Callee()
        timeout = float(verb.get("timeout", str(_DIAL_TIMEOUT_S)))
        await asyncio.sleep(min(callee.rings_s, timeout))
        status: str = callee.outcome if callee.rings_s <= timeout else "no-answer"
        talks_s = callee.talks_s if callee.hangs_up_after_s is None else callee.hangs_up_after_s
        if status == "answered":
            status = "completed"
            if target is not None:
                self._report_child(child, target)
            await asyncio.sleep(talks_s)
        if not action:
            return None
        extra = {"DialCallStatus": status, "DialCallSid": child}
        if status == "completed":
            extra["DialCallDuration"] = str(round(talks_s))
        return await self._fetch(action, base, extra)

    def _report_child(self, child: str, target: ET.Element) -> None:
        """`statusCallback` of `<Number>` and `<Sip>`: only the answer is simulated."""
        url = target.get("statusCallback")
        if not url or "answered" not in target.get("statusCallbackEvent", "completed").split():
            return
        form = self._form() | {
            "CallSid": child,
            "ParentCallSid": self.sid,
            "To": target.text or "",
            "Called": target.text or "",
            "CallStatus": "in-progress",
            "Direction": "outbound-dial",
            "CallbackSource": "call-progress-events",
            "SequenceNumber": "0",
            "Timestamp": self._exchange.date(),
        }
        self._later(lambda: self._exchange.deliver(self, "status", url, form), "child")

    async def _confer(self, name: str, noun: ET.Element) -> None:
        room = self._exchange.room(name)
        self.rooms.append(room)
        if self.direction != "inbound":
            self._tasks.spawn(self._talk_in(room), "talk")
        await room.stay(self, noun)

    async def _talk_in(self, room: Room) -> None:
        """Somebody who was called talks as long as they like, and hangs up."""
        await room.started()
        callee = self._exchange.callees.get(self.callee) or Callee()
        await asyncio.sleep(callee.talks_s)
        if room.participants[:1] != [self.sid]:
            self.end("caller")

    def report_room(self, url: str, form: Mapping[str, str]) -> None:
        """Have a status callback of a conference sent, in order."""
        self._later(lambda: self._tell_room(url, form), "conference")

    async def _tell_room(self, url: str, form: Mapping[str, str]) -> None:
        async with self._callback_order:
            await self._exchange.deliver(self, "conference", url, form)

    # --------------------------------------------------------------------------------------- reports

    def _form(self, shown: str = "") -> dict[str, str]:
        form = {
            "CallSid": self.sid,
            "AccountSid": self._exchange.account_sid,
            "From": self.caller,
            "To": self.callee,
            "Caller": self.caller,
            "Called": self.callee,
            "CallStatus": shown or self.status,
            "Direction": self.direction,
            "ApiVersion": "2010-04-01",
            "FromCity": "",
            "FromCountry": "US",
            "ToCity": "",
            "ToCountry": "US",
        }
        if self.answered_by is not None and not self.orders.detects_beside:
            form["AnsweredBy"] = self.answered_by
        return form

    async def _report(self, event: str, *, shown: str = "", last: bool = False) -> None:
        if event not in self.orders.status_events or not self.orders.status_callback:
            return
        form = self._form(shown)
        form |= {
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(self._sequence),
            "Timestamp": self._exchange.date(),
        }
        if last:
            form["CallDuration"] = str(round(self.duration_s))
            form["SipResponseCode"] = {"busy": "486", "no-answer": "487"}.get(self.status, "200")
            if self.status == "completed":
                form["Duration"] = str(-(-round(self.duration_s) // 60))
        self._sequence += 1
        async with self._callback_order:
            await self._exchange.deliver(self, "status", self.orders.status_callback, form)

    def _later(self, work: Callable[[], Awaitable[object]], name: str) -> None:
        if not self._tasks.is_closed:
            self._reports.append(self._tasks.spawn(_awaited(work()), name))

    def _reach(self, status: Status) -> None:
        self.status = status
        self.history.append((Instant(self._loop.time()), status))
        self._changed.set()

    def _fail(self, code: int, text: str) -> Status:
        self.errors.append((code, text))
        return "completed"

    def _wake_ride(self) -> None:
        if self.rides:
            self.rides[-1].wake_soon()


async def _awaited(work: Awaitable[_T]) -> _T:
    return await work


def _first_verb(document: str, tag: str) -> ET.Element | None:
    try:
        root = ET.fromstring(document.encode())  # noqa: S314 - the document of the program under test
    except ET.ParseError:
        return None
    first = next(iter(root), None)
    return first if first is not None and first.tag == tag else None
