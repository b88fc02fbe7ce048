"""Ultravox on this machine: calls that are created and joined, real sockets, raw sound.

```python
async with FakeUltravox(heard=["A haircut, please."], says=[Says("Which day?")]) as service:
    engine = UltravoxRealtime(service.key, base_url=service.url)
```

It detects voices by their loudness, writes down what its script says they said, and answers what its script says it
answers. It sends sound ahead, as far as the client's buffer goes, speaks on until that would have been heard, and has
it dropped when the caller interrupts. While a tool runs the conversation stands still. What a client does wrong is
remembered in `problems`. Works in virtual time, and without a port by `testing.memory.in_memory`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from getpatter.audio.convert import converter
from getpatter.net.messages import HttpRequest, HttpResponse
from getpatter.net.tasks import TaskNest
from getpatter.testing.fake_speech import Answer, Call, FakeService, HungUpError, Line, Refusal
from getpatter.testing.providers import buzz, is_audible
from getpatter.types import MULAW_8K, AudioFormat, Encoding

__all__ = ["Calls", "FakeUltravox", "Says"]

Json = dict[str, Any]

MS_PER_LETTER: Final = 60.0
_FRAME_MS: Final = 20
_CHUNK_MS: Final = 200.0
_BREATH_MS: Final = 200.0
"""A shorter silence is within a voice."""
_CALLS: Final = "/api/calls"
_FIELDS: Final = frozenset(
    {
        "systemPrompt",
        "temperature",
        "model",
        "voice",
        "externalVoice",
        "languageHint",
        "initialMessages",
        "joinTimeout",
        "maxDuration",
        "timeExceededMessage",
        "inactivityMessages",
        "selectedTools",
        "medium",
        "recordingEnabled",
        "firstSpeaker",
        "firstSpeakerSettings",
        "initialOutputMedium",
        "vadSettings",
        "metadata",
        "initialState",
        "dataConnection",
        "callbacks",
    }
)
_ROLES: Final = frozenset({"MESSAGE_ROLE_USER", "MESSAGE_ROLE_AGENT"})


@dataclass(frozen=True, slots=True)
class Says:
    """The agent speaks."""

    text: str


@dataclass(frozen=True, slots=True)
class Calls:
    """The agent says `text` if there is one, has `(name, parameters)` run together, and then says `then`."""

    calls: Sequence[tuple[str, Mapping[str, object]]]
    text: str = ""
    then: str = "Done."


Turn = Says | Calls


class FakeUltravox(FakeService):
    """The service."""

    def __init__(  # noqa: PLR0913 - what an agent may do
        self,
        *,
        heard: Sequence[str] = (),
        says: Sequence[Turn] = (),
        key: str = "uv-fake-0123456789",
        first_delay: float = 0.3,
        speed: float = 4.0,
        words_delay: float = -0.1,
        lasts: float | None = None,
    ) -> None:
        """Prepare a script.

        Args:
            heard: What the caller's turns are said to be, in order; later ones repeat the last. `""`: no words.
            says: What the agent does when it answers, in order; the last again and again.
            key: The only key that it takes.
            first_delay: Seconds to the first sound of an answer.
            speed: How much faster than real time sound is made.
            words_delay: Seconds from the first sound of the answer to the caller's words: before it unless positive.
            lasts: Seconds after which a call is ended.
        """
        super().__init__(key=key)
        self.heard = list(heard)
        self.says = list(says) or [Says("Certainly.")]
        self.first_delay = first_delay
        self.speed = speed
        self.words_delay = words_delay
        self.lasts = lasts
        self.problems: list[str] = []
        """Everything a client did that the vendor does not know."""
        self.created: list[Json] = []
        """Every call as it was asked for."""
        self.conversations: list[Conversation] = []
        self.turns_heard = 0
        self.turns_answered = 0
        self._joinable: dict[str, Json] = {}

    def may_enter(self, call: Call) -> Refusal | None:
        """The key for a new call, its token for the socket."""
        if call.path != _CALLS:
            is_known = call.path.removeprefix("/calls/") in self._joinable
            return None if is_known else Refusal(404, b'{"detail":"Not found."}')
        if call.headers.get("x-api-key") != self.key:
            return Refusal(403, b'{"detail":"Invalid API key."}')
        if call.method != "POST":
            return Refusal(405, b'{"detail":"Method not allowed."}')
        return _fault(call)

    def _created(self, call: Call) -> bytes:
        token = secrets.token_hex(8)
        self._joinable[token] = call.json
        self.created.append(call.json)
        return msgspec.json.encode({"callId": token, "joinUrl": f"{self.ws_url}/calls/{token}"})

    async def http(self, call: Call, answer: Answer) -> None:
        """Create a call."""
        await answer.whole(Refusal(201, self._created(call)))

    def answer_http(self, request: HttpRequest) -> HttpResponse:
        """The same without a port."""
        parts = urlsplit(request.url)
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(request.method, parts.path, parse_qs(parts.query), headers, request.body)
        refused = self.refusals.pop(0) if self.refusals else self.may_enter(call)
        if refused is not None:
            return HttpResponse(refused.status, dict(refused.headers), refused.body)
        return HttpResponse(201, {}, self._created(call))

    async def talk(self, call: Call, line: Line) -> None:
        """One call. It can be joined once."""
        settings = self._joinable.pop(call.path.removeprefix("/calls/"))
        conversation = Conversation(self, line, settings)
        self.conversations.append(conversation)
        await conversation.run()

    def drop_all(self) -> None:
        """The service goes away without a word."""
        for each in self.conversations:
            each.line.drop()

    def of(self, kind: str) -> list[Json]:
        """The client's data messages of one type, over all conversations."""
        return [m for each in self.conversations for m in each.received if m["type"] == kind]


def _fault(call: Call) -> Refusal | None:
    """What is wrong with a call that shall be created."""
    try:
        asked = call.json
    except (msgspec.DecodeError, AssertionError):
        return Refusal(400, b'{"detail":"JSON parse error"}')
    unknown = set(asked) - _FIELDS
    if unknown:
        return Refusal(400, msgspec.json.encode({min(unknown): ["Unknown field."]}))
    medium: Any = asked.get("medium", {})
    if not isinstance(medium.get("serverWebSocket", {}).get("inputSampleRate"), int):
        return Refusal(400, b'{"medium":{"serverWebSocket":["inputSampleRate is required."]}}')
    messages: Any = asked.get("initialMessages", [])
    if any(each["role"] not in _ROLES for each in messages):
        return Refusal(400, b'{"initialMessages":["Unknown role."]}')
    return None


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


class Conversation:
    """One socket."""

    def __init__(self, service: FakeUltravox, line: Line, settings: Json) -> None:
        """Begin as the call was created."""
        self.line = line
        self.settings = settings
        self.received: list[Json] = []
        """Data messages of the client, in order."""
        self.state = "idle"
        medium = settings["medium"]["serverWebSocket"]
        rate = medium["inputSampleRate"]
        vad = settings.get("vadSettings", {})
        self._interrupts_after = _seconds(vad.get("minimumInterruptionDuration", "0.09s")) * 1000
        self._ends_after = _seconds(vad.get("turnEndpointDelay", "0.384s")) * 1000
        self._ahead = medium.get("clientBufferSizeMs", 60) / 1000
        self._input = AudioFormat(Encoding.PCM16, rate)
        self._output = AudioFormat(Encoding.PCM16, medium.get("outputSampleRate", rate))
        self._service = service
        self._tasks = TaskNest("fake ultravox")
        self._speaking: asyncio.Task[None] | None = None
        self._may_be_interrupted = True
        self._plays_until = 0.0
        self._ordinal = -1
        self._numbers = 0
        self._results: dict[str, asyncio.Future[Json]] = {}
        self._ear = converter(self._input, MULAW_8K)
        self._rest = b""
        self._position = 0.0
        self._last_loud = 0.0
        self._loud_ms = 0.0
        self._is_voice = False
        self._is_deaf = False

    async def run(self) -> None:
        """Until one side has enough."""
        try:
            await self._say("call_started", callId="call_1")
            await self._become("listening")
            if "agent" in self.settings.get("firstSpeakerSettings", {"agent": {}}):
                self._answer(self._next_turn())
            if self._service.lasts is not None:
                self._tasks.spawn(self._end(self._service.lasts), "the end")
            while True:
                message = await self.line.receive()
                if isinstance(message, bytes):
                    await self._hear(message)
                else:
                    await self._take(msgspec.json.decode(message))
        finally:
            await self._tasks.close()

    def deafen(self) -> None:
        """Hear no voices from now on."""
        self._is_deaf = True

    async def _end(self, after: float) -> None:
        await asyncio.sleep(after)
        await self.line.close(1000)
        self.line.drop()

    async def _say(self, kind: str, **fields: Any) -> None:
        await self.line.say({"type": kind, **fields})

    async def _become(self, state: str) -> None:
        if state != self.state:
            self.state = state
            await self._say("state", state=state)

    # -------------------------------------------------------------------------------- data messages

    async def _take(self, message: Json) -> None:
        self.received.append(message)
        match message:
            case {"type": "ping", "timestamp": timestamp}:
                await self._say("pong", timestamp=timestamp)
            case {"type": "user_text_message", "text": str(text)}:
                await self._read_text(text, message.get("urgency", "soon"))
            case {"type": "forced_agent_message", "content": str(words)}:
                if message.get("urgency") == "immediate":
                    await self._interrupt()
                is_open = not message.get("uninterruptible", False)
                self._answer(Says(words), may_be_interrupted=is_open)
            case {"type": "client_tool_result", "invocationId": name}:
                waiting = self._results.pop(name, None)
                if waiting is None or waiting.done():
                    self._service.problems.append("a result that nobody asked for")
                elif not isinstance(message.get("result", message.get("errorMessage")), str):
                    self._service.problems.append("a result of the wrong form")
                else:
                    waiting.set_result(message)
            case {"type": "hang_up"}:
                await self.line.close(1000)
                raise HungUpError
            case _:
                self._service.problems.append(f"unknown message {str(message)[:80]}")

    async def _read_text(self, text: str, urgency: str) -> None:
        self._ordinal += 1
        await self._say(
            "transcript", role="user", medium="text", text=text, final=True, ordinal=self._ordinal
        )
        if urgency == "later":
            return
        if urgency == "immediate":
            await self._interrupt()
        self._answer(self._next_turn())

    # ------------------------------------------------------------------------------------ the caller

    async def _hear(self, sound: bytes) -> None:
        self._service.seconds_heard += self._input.ms(len(sound)) / 1000
        heard = self._rest + self._ear.convert(sound)
        size = MULAW_8K.size(_FRAME_MS)
        for start in range(0, len(heard) - size + 1, size):
            await self._frame(heard[start : start + size])
        self._rest = heard[len(heard) // size * size :]

    async def _frame(self, frame: bytes) -> None:
        self._position += _FRAME_MS
        is_loud = not self._is_deaf and is_audible(frame)
        if self._position - self._last_loud > _BREATH_MS:
            self._loud_ms = 0.0
        if is_loud:
            self._loud_ms += _FRAME_MS
            self._last_loud = self._position
        if self._results:
            return  # the conversation stands still
        is_sure = self._loud_ms >= (self._interrupts_after if self.state == "speaking" else 60.0)
        if (
            is_sure
            and not self._is_voice
            and (self._may_be_interrupted or self.state != "speaking")
        ):
            self._is_voice = True
            if self.state == "speaking":
                await self._interrupt()
        elif self._is_voice and self._position - self._last_loud >= self._ends_after:
            self._is_voice = False
            service = self._service
            number, heard = service.turns_heard, service.heard
            service.turns_heard += 1
            words = heard[min(number, len(heard) - 1)] if heard else ""
            await self._become("thinking")
            self._answer(self._next_turn(), words)

    async def _write_down(self, words: str, delay: float = 0.0) -> None:
        await asyncio.sleep(delay)
        self._ordinal += 1
        with contextlib.suppress(HungUpError):
            await self._say(
                "transcript",
                role="user",
                medium="voice",
                text=words,
                final=True,
                ordinal=self._ordinal,
            )

    async def _interrupt(self) -> None:
        await self._stop()
        if self.state == "speaking":
            await self._say("playback_clear_buffer")
            await self._become("listening")
        self._plays_until = 0.0

    async def _stop(self) -> None:
        speaking, self._speaking = self._speaking, None
        if speaking is not None:
            speaking.cancel()
            await asyncio.wait([speaking])

    def _next_turn(self) -> Turn:
        service = self._service
        turn = service.says[min(service.turns_answered, len(service.says) - 1)]
        service.turns_answered += 1
        return turn

    # ------------------------------------------------------------------------------------- the agent

    def _answer(self, turn: Turn, words: str = "", *, may_be_interrupted: bool = True) -> None:
        before, self._speaking = self._speaking, None
        self._speaking = self._tasks.spawn(
            self._perform(turn, words, before, may_be_interrupted), "speaking"
        )

    async def _perform(
        self,
        turn: Turn,
        words: str,
        before: asyncio.Task[None] | None,
        may_be_interrupted: bool,  # noqa: FBT001 - a task's argument
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._may_be_interrupted = may_be_interrupted
        delay = self._service.words_delay
        try:
            if words and delay <= 0:
                await self._write_down(words)
            await self._become("thinking")
            await asyncio.sleep(self._service.first_delay)
            if words and delay > 0:
                self._tasks.spawn(self._write_down(words, delay), "transcription")
            if isinstance(turn, Calls):
                turn = await self._call(turn)
            await self._speak(turn.text)
            await self._played()
            await self._become("listening")
        except HungUpError:
            pass

    async def _played(self) -> None:
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, self._plays_until - now))

    async def _call(self, turn: Calls) -> Says:
        if turn.text:
            await self._speak(turn.text)
        results: list[asyncio.Future[Json]] = []
        for tool, parameters in turn.calls:
            self._numbers += 1
            name = f"invocation-{self._numbers}"
            result: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
            self._results[name] = result
            results.append(result)
            await self._say(
                "client_tool_invocation",
                toolName=tool,
                invocationId=name,
                parameters=dict(parameters),
            )
        await self._played()
        await self._become("thinking")
        await asyncio.gather(*results)
        await asyncio.sleep(self._service.first_delay)
        return Says(turn.then)

    async def _speak(self, text: str) -> None:
        if not text:
            return
        now = asyncio.get_running_loop().time()
        self._plays_until = max(now, self._plays_until)
        await self._become("speaking")
        self._ordinal += 1
        ordinal = self._ordinal
        place = {"role": "agent", "medium": "voice", "ordinal": ordinal}
        sound = converter(MULAW_8K, self._output)
        left, told = MS_PER_LETTER * len(text), 0
        while left > 0:
            step = min(_CHUNK_MS, left)
            left -= step
            self._plays_until += step / 1000
            await self.line.send(sound.convert(buzz(step)))
            upto = len(text) - int(left / MS_PER_LETTER)
            if upto > told:
                words, told = text[told:upto], upto
                await self._say("transcript", delta=words, final=False, **place)
            ahead = self._plays_until - asyncio.get_running_loop().time()
            wait = step / 1000 / self._service.speed
            await asyncio.sleep(max(wait, ahead - self._ahead))
        rest = sound.flush()
        if rest:
            await self.line.send(rest)
        await self._say("transcript", text=text, final=True, **place)
