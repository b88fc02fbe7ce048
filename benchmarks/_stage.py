"""A phone on a stage: one simulated carrier, one `Patter.serve()` behind it, and everything that either side saw.

The three simulated carriers speak their vendors' words. `Ways` translates them into one set, so that a scenario is
written once; what a scenario asserts is read at the carrier's end (calls, requests, webhooks, sound) and in the
program's callbacks.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from getpatter import Patter
from getpatter.agent import Agent
from getpatter.models import CallResult, MachineDetectionResult
from getpatter.runtime import clock
from getpatter.testing.callees import Callee
from getpatter.testing.callers import Program
from getpatter.testing.plivo import SimulatedPlivo
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS
from getpatter.testing.telnyx import SimulatedTelnyx
from getpatter.testing.twilio import SimulatedTwilio

HOST: Final = "agent.example"
OURS: Final = "+15550001234"
CALLER: Final = "+15550009876"
THEIRS: Final = "+15550002222"
THIRD: Final = "+15550003333"
GREETING: Final = "Welcome to the clinic."
REPLY: Final = "I see."
WORDS: Final = "a haircut"
FAREWELL_WITHIN_S: Final = 60.0


class MissedError(AssertionError):
    """A scenario did not go as it must."""


def must(holds: object, what: str) -> None:
    """Fail the scenario unless `holds`; `what` says what was expected and what was there."""
    if not holds:
        raise MissedError(what)


def must_be(what: str, found: object, wanted: object) -> None:
    """Fail the scenario unless the two are equal."""
    must(found == wanted, f"{what}: {found!r}, not {wanted!r}")


# --------------------------------------------------------------------------------- one set of words


@dataclass(frozen=True, slots=True)
class Told:
    """A webhook that the carrier sent."""

    kind: str
    body: Mapping[str, Any] = field(repr=False)
    status: int
    """HTTP status of our answer."""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Ways:
    """How one simulated carrier says what all three can say."""

    name: str
    make: Callable[..., Any]
    call_id: Callable[[Any], str]
    ended_as: Callable[[Any], str]
    """Final status of a call, in our words; empty while it lives."""
    told: Callable[[Any], list[Told]]
    dial: str
    """Operations of the REST API."""
    hang_up: str
    record: str
    transfer: str
    verdict: str
    """Kinds of webhooks."""
    ringing: Callable[[Told], bool]
    over: Callable[[Told], bool]
    recorded: str
    dial_limit: str
    """Names of parameters of the dial request."""
    ring_limit: str
    knows_fax: bool = True
    presses_keys: bool = True
    """Keys are sent by REST; else they are tones in our audio."""
    limits_inbound: bool = False
    tells_reference: bool = True
    """Its webhooks about a placed call bring our own reference back."""


def _deliveries(call: Any) -> list[Told]:
    return [Told(each.kind, each.form, each.status, each.url) for each in call.deliveries]


def _reports(call: Any) -> list[Told]:
    return [Told(each.kind, each.payload, each.status) for each in call.reports]


_TELNYX_ENDS: Final = {
    "normal_clearing": "completed",
    "time_limit": "completed",
    "user_busy": "busy",
    "no_answer": "no-answer",
    "timeout": "no-answer",
    "originator_cancel": "no-answer",
}
_PLIVO_ENDS: Final = {"timeout": "no-answer", "cancel": "canceled"}

TWILIO: Final = Ways(
    "twilio",
    SimulatedTwilio,
    call_id=lambda call: call.sid,
    ended_as=lambda call: call.status if call.is_over else "",
    told=_deliveries,
    dial="POST /Calls.json",
    hang_up="POST /Calls/{Sid}.json",
    record="POST /Calls/{CallSid}/Recordings.json",
    transfer="POST /Calls/{Sid}.json",
    verdict="amd",
    ringing=lambda told: told.kind == "status" and told.body["CallStatus"] == "ringing",
    over=lambda told: told.kind == "status" and told.body["CallStatus"] == "completed",
    recorded="recording",
    dial_limit="TimeLimit",
    ring_limit="Timeout",
    presses_keys=False,
    limits_inbound=True,
    tells_reference=False,
)
TELNYX: Final = Ways(
    "telnyx",
    SimulatedTelnyx,
    call_id=lambda call: call.id,
    ended_as=lambda call: _TELNYX_ENDS.get(call.cause, "failed") if call.is_over else "",
    told=_reports,
    dial="POST /calls",
    hang_up="POST /calls/{id}/actions/hangup",
    record="POST /calls/{id}/actions/record_start",
    transfer="POST /calls/{id}/actions/transfer",
    verdict="call.machine.detection.ended",
    ringing=lambda told: told.kind == "call.initiated",
    over=lambda told: told.kind == "call.hangup",
    recorded="call.recording.saved",
    dial_limit="time_limit_secs",
    ring_limit="timeout_secs",
)
PLIVO: Final = Ways(
    "plivo",
    SimulatedPlivo,
    call_id=lambda call: call.id,
    ended_as=lambda call: _PLIVO_ENDS.get(call.status, call.status) if call.is_over else "",
    told=_deliveries,
    dial="POST /Call/",
    hang_up="DELETE /Call/{id}/",
    record="POST /Call/{id}/Record/",
    transfer="POST /Call/{id}/",
    verdict="machine",
    ringing=lambda told: told.kind == "ring",
    over=lambda told: told.kind == "hangup",
    recorded="recording",
    dial_limit="time_limit",
    ring_limit="ring_timeout",
    knows_fax=False,
)
CARRIERS: Final = {each.name: each for each in (TWILIO, TELNYX, PLIVO)}


# ------------------------------------------------------------------------------------- the stage


@dataclass
class CountedSTT(ScriptedSTT):
    """A recogniser that counts its connections over all calls."""

    connections: list[float] = field(default_factory=list)
    """When each was opened; shared by all clones."""

    def clone(self) -> CountedSTT:
        """The same script, counted in the same list."""
        return CountedSTT(self.lines, self.final_delay, connections=self.connections)

    async def connect(self) -> None:
        """Count, and be ready."""
        self.connections.append(clock.now())
        await super().connect()


@dataclass(slots=True)
class Heard:
    """What the program's callbacks were told of one call."""

    starts: list[Mapping[str, Any]] = field(default_factory=list)
    ends: list[Mapping[str, Any]] = field(default_factory=list)
    lines: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def said(self) -> list[tuple[str, str]]:
        """Role and text of each line."""
        return [(line["role"], line["text"]) for line in self.lines]


_ports_given: Final[set[int]] = set()


def free_port() -> int:
    """A port that nobody listens on, below those that outgoing connections are given."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        if port in _ports_given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _ports_given.add(port)
        return port


class Stage:
    """A phone that serves, behind a simulated carrier."""

    def __init__(
        self,
        ways: Ways,
        *,
        agent: Mapping[str, Any],
        serving: Mapping[str, Any],
        phone: Mapping[str, Any],
        account: Mapping[str, Any],
    ) -> None:
        """Prepare; `playing` opens it."""
        self.ways = ways
        self.carrier: Any = ways.make(number=OURS, **account)
        self.stt = CountedSTT([WORDS] * 3)
        self.tts = ScriptedTTS()
        self.llm = ScriptedLLM([REPLY])
        self.heard: dict[str, Heard] = {}
        self.verdicts: list[MachineDetectionResult] = []
        self.news: list[tuple[str, Mapping[str, Any]]] = []
        """What the event bus said: name and payload."""
        self.excused: list[str] = []
        """Problems of the carrier that belong to the scenario, by a part of their text."""
        self.results: list[CallResult] = []
        self.port = free_port()
        self.phone: Patter
        self.serving: dict[str, Any] = {
            name: value() if isinstance(value, type) else value for name, value in serving.items()
        }
        """Options of `serve`; a class among them is made anew for each stage."""
        self._agent_options = dict(agent)
        self._phone_options = {"persist": False} | dict(phone)
        self._changed = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    # --------------------------------------------------------------------------------- opening

    async def open(self) -> None:
        """Serve, and wait until the carrier's number leads here."""
        await self.carrier.__aenter__()
        self.carrier.server = f"127.0.0.1:{self.port}"
        self.phone = Patter(
            carrier=self.carrier.carrier(),
            phone_number=OURS,
            webhook_url=HOST,
            **self._phone_options,
        )
        for name in ("recording_ready", "call_started", "call_ended", "error", "callback_error"):
            self.phone.events.on(name, partial(self._told, name))
        options = dict(self.serving)
        unused = {"llm": None} if "on_message" in options else {}
        agent = self.agent(**(unused | self._agent_options))
        self._running = asyncio.create_task(
            self.phone.serve(
                agent,
                port=self.port,
                on_call_start=self._started,
                on_call_end=self._ended,
                on_transcript=self._said,
                **options,
            )
        )
        await self.phone.ready

    async def close(self) -> None:
        """Stop serving, then the carrier. Idempotent."""
        if self._running is not None:
            await self.phone.disconnect()
            await self._running
            self._running = None
        await self.carrier.__aexit__(None, None, None)

    def agent(self, **options: Any) -> Agent:
        """An agent with scripted services."""
        given: dict[str, Any] = {
            "stt": self.stt,
            "tts": self.tts,
            "llm": self.llm,
            "first_message": GREETING,
        } | options
        return self.phone.agent("You are the desk of a clinic.", **given)

    # ------------------------------------------------------------------------------ what happens

    def ring(self, person: Program, **options: Any) -> Any:
        """Somebody calls."""
        return self.carrier.ring(person, **options)

    def somebody(self, callee: Callee, number: str = THEIRS) -> None:
        """Who can be called."""
        self.carrier.callees[number] = callee
        self.carrier.callees[number.removeprefix("+")] = callee

    async def call(self, to: str = THEIRS, **options: Any) -> CallResult:
        """Call somebody and wait for what becomes of it."""
        given: dict[str, Any] = {"wait": True, "on_machine_detection": self.verdicts.append}
        result = await self.phone.call(to, **(given | options))
        assert result is not None, "waited"
        self.results.append(result)
        return result

    async def farewell(self, call: Any) -> Mapping[str, Any]:
        """What `on_call_end` was told of a call."""
        heard = self.of(call)
        await self.until(lambda: heard.ends, "on_call_end did not fire")
        return heard.ends[0]

    async def until(
        self, wanted: Callable[[], object], what: str, within_s: float = FAREWELL_WITHIN_S
    ) -> None:
        """Wait until something is so; looked at every 20 ms."""
        for _ in range(round(within_s / 0.02)):
            if wanted():
                return
            await asyncio.sleep(0.02)
        raise MissedError(f"{what} within {within_s:g} s")

    async def streaming(self, call: Any) -> None:
        """Wait until a call has its stream."""
        await self.until(lambda: call.rides, "the call got no stream")

    async def tell_again(self, call: Any, which: Callable[[Told], bool]) -> None:
        """The carrier sends a webhook once more, as a delivery of its own."""
        told = next(each for each in self.ways.told(call) if which(each))
        if self.ways.name == "telnyx":
            await self.carrier.deliver(call, told.kind, dict(told.body))
        else:
            await self.carrier.deliver(call, told.kind, told.url, dict(told.body))

    # ---------------------------------------------------------------------------- what was seen

    def of(self, call: Any) -> Heard:
        """What the program was told of a call of the carrier's, or of a call id."""
        call_id = call if isinstance(call, str) else self.ways.call_id(call)
        return self.heard.setdefault(call_id, Heard())

    def asked(self, operation: str) -> Sequence[Any]:
        """REST requests of one operation."""
        found: Sequence[Any] = self.carrier.asked(operation)
        return found

    def hang_ups(self) -> list[Any]:
        """REST requests that end a call, and were obeyed."""
        return [
            each
            for each in self.asked(self.ways.hang_up)
            if each.status // 100 == 2
            and (self.ways.name != "twilio" or each["Status"] in {"completed", "canceled"})
        ]

    def pressed(self, call: Any) -> str:
        """Keys that the other side got by REST."""
        return "".join(call.digits)

    def problems(self) -> list[str]:
        """What the carrier would not have accepted, but for what the scenario excuses."""
        return [
            each
            for each in self.carrier.problems
            if not any(excuse in each for excuse in self.excused)
        ]

    def at_the_carrier(self) -> str:
        """Each call in a few words: how it ended, by whom, how many streams it had."""
        return _counted(
            f"{self.ways.ended_as(call) or 'alive'} by {call.hung_up_by or '-'}/{len(call.rides)}"
            for call in self.carrier.calls
        )

    def in_the_program(self) -> str:
        """How each call ended by its callbacks, and the outcomes of placed calls."""
        ends = [
            "+".join(str(end["reason"]) for end in heard.ends) or "no end"
            for heard in self.heard.values()
            if heard.starts
        ]
        return _counted([*ends, *(f"-> {result.outcome}" for result in self.results)])

    async def settle(self) -> None:
        """Let every call of the carrier come to its end, and every farewell be said."""
        for call in self.carrier.calls:
            await call.ended()
        for heard in self.heard.values():
            if heard.starts:
                await self.until(partial(getattr, heard, "ends"), "on_call_end did not fire")

    def check_always(self) -> None:
        """What holds after every scenario."""
        must(not self.problems(), f"the carrier complains: {self.problems()}")
        for call_id, heard in self.heard.items():
            if heard.starts or heard.ends or heard.lines:
                must_be(f"on_call_start of {call_id[:6]}", len(heard.starts), 1)
                must_be(f"on_call_end of {call_id[:6]}", len(heard.ends), 1)
                self._check_facts(heard)
        for call in self.carrier.calls:
            must(call.is_over, "a call still lives at the carrier")
            must(not any(ride.is_open for ride in call.rides), "a stream is still open")
        failures = [payload for name, payload in self.news if name == "callback_error"]
        must(not failures, f"callbacks failed: {failures}")

    def _check_facts(self, heard: Heard) -> None:
        start, end = heard.starts[0], heard.ends[0]
        for name in ("call_id", "caller", "callee", "direction", "telephony_provider"):
            must_be(f"{name} at the end", end[name], start[name])
        must_be("telephony_provider", start["telephony_provider"], self.ways.name)
        for one, other in (("transcript", heard.said), ("history", heard.said)):
            must_be(one, [(line["role"], line["text"]) for line in end[one]], other)
        must_be("conversation_history", end["conversation_history"], end["history"])
        must(end["metrics"] is not None, "no metrics at the end")

    # -------------------------------------------------------------------------------- callbacks

    def _told(self, name: str, payload: Mapping[str, Any]) -> None:
        self.news.append((name, payload))

    def _started(self, event: Mapping[str, Any]) -> None:
        self.of(event["call_id"]).starts.append(event)

    def _ended(self, event: Mapping[str, Any]) -> None:
        self.of(event["call_id"]).ends.append(event)

    def _said(self, event: Mapping[str, Any]) -> None:
        self.of(event["call_id"]).lines.append(event)


def _counted(shown: Iterable[str]) -> str:
    counts = Counter(shown)
    return ", ".join(f"{n} x {what}" if n > 1 else what for what, n in counts.items()) or "-"


@asynccontextmanager
async def playing(
    ways: Ways,
    *,
    agent: Mapping[str, Any] | None = None,
    serving: Mapping[str, Any] | None = None,
    phone: Mapping[str, Any] | None = None,
    account: Mapping[str, Any] | None = None,
) -> AsyncIterator[Stage]:
    """A stage that is open meanwhile. `phone`: options of `Patter`; `account`: of the simulated carrier."""
    stage = Stage(
        ways, agent=agent or {}, serving=serving or {}, phone=phone or {}, account=account or {}
    )
    try:
        await stage.open()
        yield stage
    finally:
        await stage.close()
