"""Gemini Live on this machine: real sockets, real audio, the vendor's own order of messages.

```python
async with FakeGemini(heard=["A haircut, please."], says=[Says("Which day?")]) as service:
    engine = GeminiLive(service.key, base_url=service.url)
```

It detects voices by their loudness, writes down what its script says they said, and answers what its script says it
answers. It makes sound faster than it is played and takes it for played in real time, as the service does. Messages
go out as binary frames. What a client does wrong closes the socket with 1007, and is remembered in `problems`. Works
in virtual time, and without a port by `testing.memory.in_memory`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from getpatter.audio.convert import converter
from getpatter.net.tasks import TaskNest
from getpatter.testing.fake_speech import Call, FakeService, HungUpError, Line, Refusal
from getpatter.testing.providers import buzz, is_audible
from getpatter.types import MULAW_8K, PCM16_16K, PCM16_24K

__all__ = ["Calls", "FakeGemini", "Says"]

Json = dict[str, Any]

MS_PER_LETTER: Final = 60.0
_FRAME_MS: Final = 20
_CHUNK_MS: Final = 200.0
_VOICE_MS: Final = 60
_PATH: Final = re.compile(
    r"/ws/google\.ai\.generativelanguage\.v1(alpha|beta)?\.GenerativeService\.BidiGenerateContent"
)
_KINDS: Final = frozenset({"setup", "clientContent", "realtimeInput", "toolResponse"})
_SETUP_FIELDS: Final = frozenset(
    {
        "model",
        "generationConfig",
        "systemInstruction",
        "tools",
        "realtimeInputConfig",
        "sessionResumption",
        "contextWindowCompression",
        "inputAudioTranscription",
        "outputAudioTranscription",
        "proactivity",
        "historyConfig",
    }
)
_FREE: Final = frozenset({"args", "response", "parameters", "parametersJsonSchema"})
_PLAIN: Final = str.maketrans("-_", "+/")
_VERBATIM: Final = "The words:\n\n"


@dataclass(frozen=True, slots=True)
class Says:
    """The model speaks."""

    text: str


@dataclass(frozen=True, slots=True)
class Calls:
    """The model calls functions, `(name, arguments)` each, after saying `text` if there is one; then says `then`."""

    calls: Sequence[tuple[str, Mapping[str, object]]]
    text: str = ""
    then: str = "Done."


Turn = Says | Calls


class _WrongError(Exception):
    """The client broke the protocol."""


class FakeGemini(FakeService):
    """The service. A session lives as long as its sockets, and longer: it can be resumed by its handle."""

    def __init__(  # noqa: PLR0913 - what a model may do
        self,
        *,
        heard: Sequence[str] = (),
        says: Sequence[Turn] = (),
        key: str = "AIza-fake-0123456789",
        first_delay: float = 0.3,
        speed: float = 4.0,
        quiet_ms: float = 400.0,
        words_delay: float = -0.1,
        lasts: float | None = None,
        goes_away: float = 10.0,
        is_resumable: bool = True,
    ) -> None:
        """Prepare a script.

        Args:
            heard: What the caller's turns are said to be, in order; later ones repeat the last. `""`: no words.
            says: What the model does when it answers, in order; the last again and again.
            key: The only key that it takes.
            first_delay: Seconds to the first sound of an answer.
            speed: How much faster than real time sound is made.
            quiet_ms: Silence that ends a turn of the caller's.
            words_delay: Seconds from the first sound of the answer to the caller's words: before it unless positive.
            lasts: Seconds after which a connection is ended.
            goes_away: Seconds before that at which it is said.
            is_resumable: Whether sessions have handles.
        """
        super().__init__(key=key)
        self.heard = list(heard)
        self.says = list(says) or [Says("Certainly.")]
        self.first_delay = first_delay
        self.speed = speed
        self.quiet_ms = quiet_ms
        self.words_delay = words_delay
        self.lasts = lasts
        self.goes_away = goes_away
        self.is_resumable = is_resumable
        self.problems: list[str] = []
        """Everything a client did that the vendor does not allow."""
        self.conversations: list[Conversation] = []
        self.handles: dict[str, list[Json]] = {}
        """The history behind each handle."""
        self.turns_heard = 0
        self.turns_answered = 0

    def may_enter(self, call: Call) -> Refusal | None:
        """The path; a wrong key is told on the socket."""
        return None if _PATH.fullmatch(call.path) else Refusal(404)

    async def talk(self, call: Call, line: Line) -> None:
        """One connection."""
        key = call.headers.get("x-goog-api-key") or call.said("key")
        if key != self.key:
            await line.close(1007, "API key not valid. Please pass a valid API key.")
            return
        conversation = Conversation(self, line)
        self.conversations.append(conversation)
        await conversation.run()

    def drop_all(self) -> None:
        """The service goes away without a word."""
        for each in self.conversations:
            each.line.drop()

    def of(self, kind: str) -> list[Json]:
        """The contents of the client's messages of one kind, over all conversations."""
        return [m[kind] for each in self.conversations for m in each.received if kind in m]


class Conversation:
    """One socket."""

    def __init__(self, service: FakeGemini, line: Line) -> None:
        """Wait for the setup."""
        self.line = line
        self.setup: Json = {}
        self.received: list[Json] = []
        """What the client sent, audio left out."""
        self.history: list[Json] = []
        self.was_resumed = False
        self._service = service
        self._tasks = TaskNest("fake gemini")
        self._speaking: asyncio.Task[None] | None = None
        self._is_generating = False
        self._plays_until = 0.0
        self._awaits_history = False
        self._waiting: dict[str, asyncio.Future[Json]] = {}
        self._numbers = 0
        self._ear = converter(PCM16_16K, MULAW_8K)
        self._rest = b""
        self._position = 0.0
        self._last_loud = 0.0
        self._loud_ms = 0.0
        self._is_voice = False
        self._is_deaf = False

    async def run(self) -> None:
        """Until one side has enough."""
        try:
            await self._begin(self._read(await self.line.receive()))
            while True:
                await self._take(self._read(await self.line.receive()))
        except _WrongError as error:
            self._service.problems.append(str(error))
            await self.line.close(1007, str(error)[:120])
        finally:
            await self._tasks.close()

    def deafen(self) -> None:
        """Hear no voices from now on."""
        self._is_deaf = True

    def _read(self, message: str | bytes) -> Json:
        try:
            found = _camel(msgspec.json.decode(message))
        except msgspec.DecodeError as error:
            raise _WrongError(f"Invalid JSON payload received: {error}") from error
        if not isinstance(found, dict) or len(found) != 1 or not _KINDS.issuperset(found):
            raise _WrongError(f"Invalid JSON payload received. Unknown name in {str(found)[:60]}")
        return found

    async def _say(self, **fields: Any) -> None:
        await self.line.send(msgspec.json.encode(fields))

    # ----------------------------------------------------------------------------------- the session

    async def _begin(self, first: Json) -> None:
        setup = first.get("setup")
        if setup is None:
            raise _WrongError("setup must be the first message and only the first")
        unknown = set(setup) - _SETUP_FIELDS
        if unknown:
            raise _WrongError(f"Unknown name {min(unknown)!r} at 'setup'")
        if not str(setup.get("model", "")).startswith("models/"):
            raise _WrongError("model is not found for API version v1beta")
        if setup["generationConfig"].get("responseModalities") != ["AUDIO"]:
            raise _WrongError("Cannot extract voices from a non-audio request.")
        self.setup = setup
        service = self._service
        handle = setup.get("sessionResumption", {}).get("handle")
        if handle is not None:
            if handle not in service.handles:
                await self.line.close(1008, "BidiGenerateContent session not found")
                raise HungUpError
            self.history = list(service.handles[handle])
            self.was_resumed = True
        history = setup.get("historyConfig", {})
        self._awaits_history = bool(history.get("initialHistoryInClientContent"))
        await self._say(setupComplete={})
        if service.lasts is not None:
            self._tasks.spawn(self._end(service.lasts), "the end")

    async def _end(self, after: float) -> None:
        try:
            await asyncio.sleep(max(0.0, after - self._service.goes_away))
            await self._say(goAway={"timeLeft": f"{self._service.goes_away:g}s"})
            await asyncio.sleep(self._service.goes_away)
            await self.line.close(1011, "The operation was aborted.")
            self.line.drop()
        except HungUpError:
            pass

    async def _remember(self) -> None:
        if "sessionResumption" not in self.setup or not self._service.is_resumable:
            return
        handle = f"handle-{len(self._service.handles) + 1}"
        self._service.handles[handle] = list(self.history)
        await self._say(sessionResumptionUpdate={"newHandle": handle, "resumable": True})

    # ------------------------------------------------------------------------------- client messages

    async def _take(self, message: Json) -> None:
        ((kind, content),) = message.items()
        if kind == "realtimeInput":
            await self._realtime(content)
            return
        self.received.append(message)
        match kind:
            case "clientContent":
                await self._client_content(content)
            case "toolResponse":
                for answer in content["functionResponses"]:
                    self._answered(answer)
            case _:
                raise _WrongError("setup must be the first message and only the first")

    def _answered(self, answer: Json) -> None:
        waiting = self._waiting.pop(answer.get("id", ""), None)
        if waiting is None or waiting.done():
            self._service.problems.append(f"a response that nobody asked for: {answer}")
        elif not isinstance(answer["response"], dict):
            raise _WrongError("Proto field is not repeating: response")
        else:
            waiting.set_result(answer)

    async def _client_content(self, content: Json) -> None:
        turns = content.get("turns", [])
        for turn in turns:
            if turn["role"] not in {"user", "model"}:
                raise _WrongError("Please use a valid role: user, model.")
        self.history += turns
        if not content.get("turnComplete"):
            return
        if self._awaits_history:
            self._awaits_history = False
            return
        if self._is_in_turn:
            await self._interrupt()
        text = "".join(part["text"] for part in turns[-1]["parts"]) if turns else ""
        _, found, exact = text.partition(_VERBATIM)
        self._answer(Says(exact) if found else self._next_turn(), "")

    async def _realtime(self, content: Json) -> None:
        if self._awaits_history:
            self._service.problems.append("audio before the history was complete")
        audio = content.get("audio")
        if audio is None or audio.get("mimeType") != "audio/pcm;rate=16000":
            raise _WrongError(f"Invalid realtime input: {str(content)[:60]}")
        try:
            data = str(audio["data"]).translate(_PLAIN)  # both alphabets, as in all such JSON
            sound = base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise _WrongError("Base64 decoding failed") from error
        self._service.seconds_heard += PCM16_16K.ms(len(sound)) / 1000
        heard = self._rest + self._ear.convert(sound)
        size = MULAW_8K.size(_FRAME_MS)
        for start in range(0, len(heard) - size + 1, size):
            await self._frame(heard[start : start + size])
        self._rest = heard[len(heard) // size * size :]

    # ------------------------------------------------------------------------------------ the caller

    @property
    def _is_in_turn(self) -> bool:
        return self._is_generating or asyncio.get_running_loop().time() < self._plays_until

    async def _frame(self, frame: bytes) -> None:
        self._position += _FRAME_MS
        is_loud = not self._is_deaf and is_audible(frame)
        self._loud_ms = self._loud_ms + _FRAME_MS if is_loud else 0.0
        if is_loud:
            self._last_loud = self._position
        if self._loud_ms >= _VOICE_MS and not self._is_voice:
            self._is_voice = True
            handling = self.setup.get("realtimeInputConfig", {}).get("activityHandling")
            if handling != "NO_INTERRUPTION" and self._is_in_turn:
                await self._interrupt()
        elif self._is_voice and self._position - self._last_loud >= self._service.quiet_ms:
            self._is_voice = False
            service = self._service
            number, heard = service.turns_heard, service.heard
            service.turns_heard += 1
            words = heard[min(number, len(heard) - 1)] if heard else ""
            self.history.append({"role": "user", "parts": [{"text": words}]})
            self._answer(self._next_turn(), words)

    async def _interrupt(self) -> None:
        waiting = [name for name, future in self._waiting.items() if not future.done()]
        await self._stop()
        self._plays_until = 0.0
        await self._say(serverContent={"interrupted": True})
        if waiting:
            self._waiting.clear()
            await self._say(toolCallCancellation={"ids": waiting})
        await self._say(serverContent={"turnComplete": True})

    async def _stop(self) -> None:
        speaking, self._speaking = self._speaking, None
        self._is_generating = False
        if speaking is not None:
            speaking.cancel()
            await asyncio.wait([speaking])

    def _next_turn(self) -> Turn:
        service = self._service
        turn = service.says[min(service.turns_answered, len(service.says) - 1)]
        service.turns_answered += 1
        return turn

    # ------------------------------------------------------------------------------------- the model

    def _answer(self, turn: Turn, words: str) -> None:
        before, self._speaking = self._speaking, None
        self._is_generating = True
        self._speaking = self._tasks.spawn(self._perform(turn, words, before), "speaking")

    async def _perform(self, turn: Turn, words: str, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            delay = self._service.words_delay
            if words and delay <= 0:
                await self._write_down(words)
            await asyncio.sleep(self._service.first_delay)
            if words and delay > 0:
                self._tasks.spawn(self._write_down(words, delay), "transcription")
            if isinstance(turn, Calls):
                turn = await self._call(turn)
            await self._speak(turn.text)
            await self._say(serverContent={"generationComplete": True})
            self._is_generating = False
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, self._plays_until - now))
            await self._say(
                serverContent={"turnComplete": True}, usageMetadata=_usage(len(turn.text))
            )
            await self._remember()
        except HungUpError:
            pass

    async def _write_down(self, words: str, delay: float = 0.0) -> None:
        await asyncio.sleep(delay)
        half = len(words) // 2
        try:
            for piece in (words[:half], words[half:]):
                await self._say(serverContent={"inputTranscription": {"text": piece}})
        except HungUpError:
            pass

    async def _call(self, turn: Calls) -> Says:
        if turn.text:
            await self._speak(turn.text)
        calls: list[Json] = []
        for name, arguments in turn.calls:
            self._numbers += 1
            number = f"function-call-{self._numbers}"
            self._waiting[number] = asyncio.get_running_loop().create_future()
            calls.append({"id": number, "name": name, "args": dict(arguments)})
        results = [self._waiting[each["id"]] for each in calls]
        await self._say(toolCall={"functionCalls": calls})
        await asyncio.gather(*results)
        await asyncio.sleep(self._service.first_delay)
        return Says(turn.then)

    async def _speak(self, text: str) -> None:
        now = asyncio.get_running_loop().time()
        self._plays_until = max(now, self._plays_until)
        sound = converter(MULAW_8K, PCM16_24K)
        left, told = MS_PER_LETTER * len(text), 0
        self.history.append({"role": "model", "parts": [{"text": text}]})
        while left > 0:
            step = min(_CHUNK_MS, left)
            left -= step
            self._plays_until += step / 1000
            audio = base64.b64encode(sound.convert(buzz(step))).decode()
            blob = {"mimeType": "audio/pcm;rate=24000", "data": audio}
            await self._say(serverContent={"modelTurn": {"parts": [{"inlineData": blob}]}})
            upto = len(text) - int(left / MS_PER_LETTER)
            if upto > told:
                words, told = text[told:upto], upto
                await self._say(serverContent={"outputTranscription": {"text": words}})
            await asyncio.sleep(step / 1000 / self._service.speed)


def _camel(value: Any) -> Any:
    """Names may be spelt both ways, as in all JSON of protocol buffers; the vendor's client mixes them."""
    if isinstance(value, list):
        return [_camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        re.sub("_([a-z])", lambda match: match[1].upper(), name): (
            inner if name in _FREE else _camel(inner)
        )
        for name, inner in value.items()
    }


def _usage(letters: int) -> Json:
    return {
        "promptTokenCount": 90,
        "responseTokenCount": letters + 3,
        "totalTokenCount": 93 + letters,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 10},
            {"modality": "AUDIO", "tokenCount": 80},
        ],
        "responseTokensDetails": [
            {"modality": "TEXT", "tokenCount": 3},
            {"modality": "AUDIO", "tokenCount": letters},
        ],
    }
