"""The contracts of the test kit: our own carrier and providers keep them, and each notices who does not."""

from __future__ import annotations

import asyncio
import hmac
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import Any, Final, Self
from urllib.parse import urlencode

import pytest

from getpatter.carriers.base import CallArrived, StreamStarted, Verdict, WireEvent
from getpatter.carriers.twilio import Twilio
from getpatter.llm.base import LLMChunk
from getpatter.models import Transcript
from getpatter.net.messages import WebhookReply, WebhookRequest
from getpatter.stt.local import LocalSTT
from getpatter.testing import contracts
from getpatter.testing.contracts import BrokenPromiseError, Check
from getpatter.testing.providers import ScriptedLLM, ScriptedSTT, ScriptedTTS, buzz
from getpatter.testing.time import VirtualTimeLoop
from getpatter.tts.local import LocalTTS, speech
from getpatter.types import MULAW_8K, PCM16_8K, PCM16_16K, AudioFormat

pytestmark = pytest.mark.timeout(60)  # a recogniser and a voice really work here

# ------------------------------------------------------------------------------------ Twilio's samples

ACCOUNT: Final = "AC" + "5e" * 16
TOKEN: Final = "the-auth-token"
CALL: Final = "CA" + "0f" * 16
STREAM: Final = "MZ" + "1c" * 16
HOST: Final = "agent.example"
SOUND: Final = bytes(range(160))


def frame(event: str, **fields: object) -> bytes:
    return json.dumps(
        {"event": event, "sequenceNumber": "3", "streamSid": STREAM, **fields}
    ).encode()


WIRE: Final = contracts.WireSample(
    start=(
        b'{"event":"connected","protocol":"Call","version":"1.0.0"}',
        frame(
            "start",
            start={
                "accountSid": ACCOUNT,
                "streamSid": STREAM,
                "callSid": CALL,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {"token": "t"},
            },
        ),
    ),
    started=StreamStarted(STREAM, CALL, MULAW_8K, {"token": "t"}),
    audio=frame(
        "media",
        media={
            "track": "inbound",
            "chunk": "2",
            "timestamp": "5",
            "payload": b64encode(SOUND).decode(),
        },
    ),
    sound=SOUND,
    stop=frame("stop", stop={"accountSid": ACCOUNT, "callSid": CALL}),
    mark=frame("mark", mark={"name": "p7"}),
    mark_name="p7",
    key=frame("dtmf", dtmf={"track": "inbound_track", "digit": "5"}),
    digit="5",
    ignored=(b'{"event":"connected","protocol":"Call","version":"1.0.0"}', b'{"event":"novelty"}'),
    played=lambda sent: b64decode(json.loads(sent)["media"]["payload"]),
)


def a_ring() -> WebhookRequest:
    form = {
        "AccountSid": ACCOUNT,
        "ApiVersion": "2010-04-01",
        "CallSid": CALL,
        "CallStatus": "ringing",
        "Direction": "inbound",
        "From": "+15550009876",
        "To": "+15550001234",
    }
    path = "/webhooks/twilio/voice"
    signed = f"https://{HOST}{path}" + "".join(name + form[name] for name in sorted(form))
    signature = b64encode(hmac.digest(TOKEN.encode(), signed.encode(), "sha1")).decode()
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "x-twilio-signature": signature,
    }
    return WebhookRequest("POST", path, "", headers, urlencode(form).encode())


def twilio() -> Twilio:
    return Twilio(ACCOUNT, TOKEN)


def desk_sample() -> contracts.DeskSample:
    ring = a_ring()
    (arrived,) = twilio().read("voice", ring)
    assert arrived == CallArrived(CALL, "+15550009876", "+15550001234", {}, arrived.delivery)
    return contracts.DeskSample(
        ring=ring, arrived=arrived, host=HOST, now=1_767_225_600.0, secrets=(TOKEN,)
    )


# ----------------------------------------------------------------------------------- who keeps them

VIRTUAL: Final[Any] = {"new_loop": VirtualTimeLoop}
BABBLE: Final = contracts.HearingSample(buzz(800), "a haircut", MULAW_8K)


@cache
def spoken() -> bytes:
    return asyncio.run(speech("two cheese pizzas please"))


def local_sample() -> contracts.HearingSample:
    return contracts.HearingSample(spoken(), "two cheese pizzas please", PCM16_8K)


def local_stt() -> LocalSTT:
    return LocalSTT(grammar="(one | two) (cheese | mushroom) pizzas please\nno thank you")


def all_checks() -> list[Any]:
    """Every contract of every implementation of ours; local speech is made only when it is asked for."""
    kept: dict[str, Sequence[Check]] = {
        "twilio wire": contracts.wire_checks(lambda: twilio().wire(), WIRE),
        "twilio desk": contracts.desk_checks(twilio(), desk_sample()),
        "ScriptedSTT": contracts.recogniser_checks(
            lambda: ScriptedSTT(["a haircut"]), BABBLE, **VIRTUAL
        ),
        "ScriptedTTS": contracts.voice_checks(ScriptedTTS, **VIRTUAL),
        "ScriptedLLM": contracts.model_checks(lambda: ScriptedLLM(["Yes, we are."]), **VIRTUAL),
        "LocalTTS": contracts.voice_checks(LocalTTS),
    }
    return [
        pytest.param(check, id=f"{who}-{check}") for who, checks in kept.items() for check in checks
    ]


@pytest.mark.parametrize("check", all_checks())
def test_ours_keep_what_they_promise(check: Check) -> None:
    check()


HEARING: Final = [
    check.name for check in contracts.recogniser_checks(local_stt, contracts.HearingSample(b""))
]


@pytest.mark.skipif(not find_spec("pocketsphinx"), reason="has no wheel for this Python")
@pytest.mark.parametrize("name", HEARING)
def test_the_local_recogniser_keeps_what_it_promises(name: str) -> None:
    checks = contracts.recogniser_checks(local_stt, local_sample())
    next(check for check in checks if check.name == name)()


def test_what_takes_part_is_a_check_each() -> None:
    checks = contracts.wire_checks(lambda: twilio().wire(), WIRE)
    assert len({check.name for check in checks}) == len(checks)
    assert all(check.promise for check in checks)


# ------------------------------------------------------------------------------- who breaks them: wires


class _Wrapped:
    """Twilio's wire; the broken ones below change one thing about it."""

    def __init__(self) -> None:
        self.inner = twilio().wire()

    @property
    def format(self) -> AudioFormat:
        return self.inner.format

    def receive(self, frame: bytes) -> WireEvent | None:
        return self.inner.receive(frame)

    def resume(self, started: StreamStarted) -> None:
        self.inner.resume(started)

    def audio(self, data: bytes) -> bytes:
        return self.inner.audio(data)

    def mark(self, name: str) -> bytes:
        return self.inner.mark(name)

    def clear(self) -> bytes:
        return self.inner.clear()


class _SaysPcm(_Wrapped):
    @property
    def format(self) -> AudioFormat:
        return PCM16_16K


class _Fragile(_Wrapped):
    def receive(self, frame: bytes) -> WireEvent | None:
        json.loads(frame)
        return super().receive(frame)


class _Deaf(_Wrapped):
    def receive(self, frame: bytes) -> WireEvent | None:
        event = super().receive(frame)
        return event if isinstance(event, StreamStarted) else None


class _Forgetful(_Wrapped):
    def resume(self, started: StreamStarted) -> None:
        super().resume(replace(started, stream_id="MZ0"))


class _Halving(_Wrapped):
    def audio(self, data: bytes) -> bytes:
        return super().audio(data[: len(data) // 2])


class _OneMark(_Wrapped):
    def mark(self, name: str) -> bytes:
        return super().mark("mark")


class _Counting(_Wrapped):
    sent = 0

    def clear(self) -> bytes:
        type(self).sent += 1
        return super().clear() + b" " * self.sent


_shared = twilio().wire()


class _Shared(_Wrapped):
    """All sockets write with the stream id of the one that came last."""

    def resume(self, started: StreamStarted) -> None:
        _shared.resume(started)

    def receive(self, frame: bytes) -> WireEvent | None:
        event = super().receive(frame)
        if isinstance(event, StreamStarted):
            _shared.resume(event)
        return event

    def clear(self) -> bytes:
        return _shared.clear()


@pytest.mark.parametrize(
    ("wire", "promise"),
    [
        (_SaysPcm, "start"),
        (_Deaf, "audio in"),
        (_Deaf, "stop"),
        (_Deaf, "marks"),
        (_OneMark, "marks"),
        (_Deaf, "keys"),
        (_Fragile, "rubbish"),
        (_Halving, "audio out"),
        (_Shared, "sockets apart"),
        (_Counting, "same again"),
        (_Forgetful, "resume"),
    ],
)
def test_a_wire_that_breaks_a_promise_is_found(wire: type[_Wrapped], promise: str) -> None:
    assert_broken(contracts.wire_checks(wire, WIRE), promise)


def test_a_frame_that_means_nothing_must_not_be_an_error() -> None:
    sample = replace(WIRE, ignored=(WIRE.audio,))
    assert_broken(contracts.wire_checks(_Wrapped, sample), "other frames")


def assert_broken(checks: Sequence[Check], promise: str) -> None:
    """Only this promise is looked at, and it is said what was promised."""
    check = next(check for check in checks if check.name == promise)
    with pytest.raises(BrokenPromiseError, match="Promised: ") as broken:
        check()
    assert str(broken.value).startswith(f"{promise}: ")


# ------------------------------------------------------------------------------- who breaks them: desks


class _Desk(Twilio):
    """Twilio's desk; the broken ones below change one thing about it."""

    __slots__ = ()


class _Trusting(_Desk):
    __slots__ = ()

    def verify(self, request: WebhookRequest, *, host: str, now: float) -> Verdict:
        return Verdict.GENUINE


class _Suspicious(_Desk):
    __slots__ = ()

    def verify(self, request: WebhookRequest, *, host: str, now: float) -> Verdict:
        return Verdict.FORGED


class _Careless(_Desk):
    __slots__ = ()

    def read(self, kind: str, request: WebhookRequest) -> Sequence[Any]:
        del kind
        fields = dict(pair.split("=") for pair in request.body.decode().split("&"))
        return [CallArrived(fields["CallSid"], fields["From"], fields["To"])]


class _Answerless(_Desk):
    __slots__ = ()

    def connect(self, stream: object) -> WebhookReply:
        del stream
        return WebhookReply(200, b"<Response/>")

    def acknowledge(self, kind: str) -> WebhookReply:
        del kind
        return WebhookReply(302)


class _Optimistic(_Desk):
    __slots__ = ()

    def hang_up(self, call_id: str) -> Any:
        yield self._request("POST", f"/Calls/{call_id}.json")


class _Talkative(_Desk):
    __slots__ = ()

    def __repr__(self) -> str:
        return f"Talkative({self.auth_token})"


_one_wire = twilio().wire()


class _Thrifty(_Desk):
    __slots__ = ()

    def wire(self) -> Any:
        return _one_wire


class _Oddly(_Desk):
    __slots__ = ()
    name = "Odd Name"


@pytest.mark.parametrize(
    ("desk", "promise"),
    [
        (_Oddly, "names"),
        (_Suspicious, "genuine"),
        (_Trusting, "forged"),
        (_Trusting, "stale"),
        (_Careless, "ring"),
        (_Careless, "rubbish"),
        (_Answerless, "connect"),
        (_Answerless, "answers"),
        (_Optimistic, "refusals"),
        (_Talkative, "secrets"),
        (_Thrifty, "fresh wires"),
    ],
)
def test_a_desk_that_breaks_a_promise_is_found(desk: type[_Desk], promise: str) -> None:
    sample = replace(desk_sample(), signatures_expire=promise == "stale")
    assert_broken(contracts.desk_checks(desk(ACCOUNT, TOKEN), sample), promise)


# ------------------------------------------------------------------------- who breaks them: recognisers


class _OddFormats(ScriptedSTT):
    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(lines)
        self.input_formats = ("mulaw",)  # type: ignore[assignment]


class _NeverFinal(ScriptedSTT):
    async def receive_transcripts(self) -> AsyncIterator[Transcript]:
        async for said in super().receive_transcripts():
            yield Transcript(said.text, is_final=False)


class _Endless(ScriptedSTT):
    async def receive_transcripts(self) -> AsyncIterator[Transcript]:
        async for said in super().receive_transcripts():
            yield said
        await asyncio.Event().wait()


class _Littering(ScriptedSTT):
    async def close(self) -> None:
        await super().close()
        self.left = asyncio.create_task(asyncio.sleep(60))


class _Counted(ScriptedSTT):
    """Hears a word for every piece, whatever is in it."""

    pieces = 0

    async def send_audio(self, pcm: bytes) -> None:
        self.pieces += 1
        await super().send_audio(pcm)

    def _recognise(self) -> None:
        self._left = [f"{self.pieces} pieces"]
        super()._recognise()


class _Single(ScriptedSTT):
    def clone(self) -> Self:
        return self


class _Overhearing(ScriptedSTT):
    """All of them write into one list."""

    everybody: list[asyncio.Queue[Transcript | None]] = []  # noqa: RUF012 - the fault

    async def connect(self) -> None:
        await super().connect()
        if self._results is not None:
            self.everybody.append(self._results)

    def _recognise(self) -> None:
        super()._recognise()
        for each in self.everybody:
            each.put_nowait(Transcript("a haircut", is_final=True))


@dataclass
class _Breakable(ScriptedSTT):
    """One whose stream can be cut."""

    raises: bool = True
    _cut: bool = False

    def clone(self) -> Self:
        return type(self)(self.lines, raises=self.raises)

    async def connect(self) -> None:
        self._cut = False
        await super().connect()

    def cut(self) -> None:
        self._cut = True
        assert self._results is not None
        self._results.put_nowait(None)

    async def receive_transcripts(self) -> AsyncIterator[Transcript]:
        async for said in super().receive_transcripts():
            yield said
        if self._cut and self.raises:
            raise ConnectionResetError


def _cut(stt: object) -> None:
    assert isinstance(stt, _Breakable)
    stt.cut()


@pytest.mark.parametrize(
    ("stt", "promise"),
    [
        (_OddFormats, "formats"),
        (_NeverFinal, "hears"),
        (_Littering, "hears"),
        (_Counted, "any pieces"),
        (_Single, "calls apart"),
        (_Overhearing, "calls apart"),
        (_Endless, "close"),
    ],
)
def test_a_recogniser_that_breaks_a_promise_is_found(stt: type[ScriptedSTT], promise: str) -> None:
    checks = contracts.recogniser_checks(lambda: stt(["a haircut"]), BABBLE, **VIRTUAL)
    assert_broken(checks, promise)


@pytest.mark.parametrize("raises", [True, False])
def test_a_lost_stream_must_be_told_from_one_that_is_done(raises: bool) -> None:
    checks = contracts.recogniser_checks(
        lambda: _Breakable(["a haircut"], raises=raises), replace(BABBLE, lose=_cut), **VIRTUAL
    )
    if raises:
        for check in checks:
            check()
    else:
        assert_broken(checks, "lost")


def test_a_recogniser_that_hears_something_else_is_found() -> None:
    checks = contracts.recogniser_checks(lambda: ScriptedSTT(["a wig"]), BABBLE, **VIRTUAL)
    assert_broken(checks, "hears")


# ------------------------------------------------------------------------------ who breaks them: voices


class _HalfSamples(ScriptedTTS):
    """Says that it speaks PCM16, and ends in half a sample."""

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        yield bytes(6401 + 2 * len(text))

    def __init__(self) -> None:
        super().__init__(output_format=PCM16_16K)


class _Monotonous(ScriptedTTS):
    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        del text
        yield bytes(3200)


class _Deceptive(ScriptedTTS):
    def with_output(self, formats: Sequence[AudioFormat]) -> Self:
        del formats
        return self


class _Frail(ScriptedTTS):
    """Never speaks again once somebody has interrupted it."""

    is_hurt = False

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        if self.is_hurt:
            return
        self.is_hurt = True
        async for piece in super().synthesize(text):
            yield piece
        self.is_hurt = False


class _Busy(ScriptedTTS):
    """One sentence at a time, in all of them; others get nothing."""

    speaking = 0

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        if _Busy.speaking:
            return
        _Busy.speaking += 1
        try:
            async for piece in super().synthesize(text):
                yield piece
        finally:
            _Busy.speaking -= 1


class _Contagious(ScriptedTTS):
    """Closing one closes all."""

    is_open = True

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        if _Contagious.is_open:
            async for piece in super().synthesize(text):
                yield piece

    async def close(self) -> None:
        _Contagious.is_open = False


class _Restless(ScriptedTTS):
    @property
    def voice_key(self) -> str:
        return f"voice {id(self)}"


class _Slow(ScriptedTTS):
    async def close(self) -> None:
        await asyncio.sleep(3)


@pytest.mark.parametrize(
    ("voice", "promise"),
    [
        (_Deceptive, "format"),
        (_HalfSamples, "speaks"),
        (_Monotonous, "speaks"),
        (_Frail, "cancelled"),
        (_Busy, "at once"),
        (_Contagious, "calls apart"),
        (_Restless, "key"),
        (_Slow, "close"),
    ],
)
def test_a_voice_that_breaks_a_promise_is_found(voice: type[ScriptedTTS], promise: str) -> None:
    made: list[ScriptedTTS] = []  # kept, so that no two have one id

    def new() -> ScriptedTTS:
        made.append(voice())
        return made[-1]

    assert_broken(contracts.voice_checks(new, **VIRTUAL), promise)


# ------------------------------------------------------------------------------ who breaks them: models

Messages = Sequence[Mapping[str, object]]


class _Model:
    """A model that answers with these chunks."""

    def __init__(self, *chunks: object) -> None:
        self._chunks = chunks

    async def stream(self, messages: Messages, tools: object = None) -> AsyncIterator[Any]:
        del messages, tools
        for chunk in self._chunks:
            await asyncio.sleep(0)
            yield chunk


class _Meddling(_Model):
    async def stream(self, messages: Messages, tools: object = None) -> AsyncIterator[Any]:
        if isinstance(messages, list):
            messages.append({"role": "assistant", "content": "Yes."})
        async for chunk in super().stream(messages, tools):
            yield chunk


class _NeedsTools(_Model):
    async def stream(self, messages: Messages, tools: object = None) -> AsyncIterator[Any]:
        if tools is None:
            return
        async for chunk in super().stream(messages, tools):
            yield chunk


class _Once(_Model):
    is_taken = False

    async def stream(self, messages: Messages, tools: object = None) -> AsyncIterator[Any]:
        if self.is_taken:
            return
        self.is_taken = True
        async for chunk in super().stream(messages, tools):
            yield chunk
        self.is_taken = False


YES: Final = (LLMChunk("text", content="Yes."), {"type": "done"})


def _calls(*arguments: str, name: str = "opening_hours") -> _Model:
    pieces = [
        {"type": "tool_call", "index": 0, "id": "c", "name": name, "arguments": piece}
        for piece in arguments
    ]
    return _Model({"type": "text", "content": "One moment."}, *pieces, {"type": "done"})


@pytest.mark.parametrize(
    ("new", "promise"),
    [
        (lambda: _Model("Yes.", *YES), "answers"),
        (lambda: _Model({"type": "done"}), "answers"),
        (lambda: _Model(*reversed(YES)), "done"),
        (lambda: _NeedsTools(*YES), "tools offered"),
        (lambda: _Once(*YES), "cancelled"),
        (lambda: _Once(*YES), "at once"),
        (lambda: _Meddling(*YES), "messages"),
        (lambda: _Model(*YES), "tool calls"),
        (lambda: _calls('{"day":', name="opening_hours"), "tool calls"),
        (lambda: _calls('{"day": "sat"}', name="close_the_shop"), "tool calls"),
    ],
)
def test_a_model_that_breaks_a_promise_is_found(new: Callable[[], Any], promise: str) -> None:
    assert_broken(contracts.model_checks(new, calls_tools=True, **VIRTUAL), promise)


def test_a_tool_call_in_pieces_is_fine() -> None:
    checks = contracts.model_checks(
        lambda: _calls('{"day":', ' "saturday"}'), calls_tools=True, **VIRTUAL
    )
    for check in checks:
        check()
