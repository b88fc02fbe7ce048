"""A Realtime API of OpenAI (GA) on this machine: real sockets, real audio, the real order of events.

```python
async with FakeRealtime(heard=["A haircut, please."], says=[Says("Which day?")]) as service:
    engine = OpenAIRealtime(service.key, base_url=service.url)
```

It detects voices by their loudness, writes down what its script says they said, and answers what its script says it
answers, in syllables that last as long as the words would. What a client does wrong is answered with the vendor's
errors and remembered in `problems`. Works in virtual time.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from getpatter.audio.convert import converter
from getpatter.net.tasks import TaskNest
from getpatter.testing.fake_speech import Call, FakeService, HungUpError, Line, Refusal
from getpatter.testing.providers import buzz, is_audible
from getpatter.types import ALAW_8K, MULAW_8K, PCM16_24K, AudioFormat

__all__ = ["VOICES", "Calls", "Fails", "FakeRealtime", "Says"]

Json = dict[str, Any]

MS_PER_LETTER: Final = 60.0
_FRAME_MS: Final = 20
_DELTA_MS: Final = 200.0
_FORMATS: Final = {"audio/pcmu": MULAW_8K, "audio/pcma": ALAW_8K, "audio/pcm": PCM16_24K}
_CLIENT_EVENTS: Final = frozenset(
    {
        "session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "conversation.item.create",
        "conversation.item.truncate",
        "conversation.item.delete",
        "conversation.item.retrieve",
        "response.create",
        "response.cancel",
        "output_audio_buffer.clear",
    }
)
_SESSION_FIELDS: Final = frozenset(
    {
        "type",
        "model",
        "output_modalities",
        "instructions",
        "audio",
        "tools",
        "tool_choice",
        "max_output_tokens",
        "truncation",
        "include",
        "tracing",
        "prompt",
        "reasoning",
        "parallel_tool_calls",
    }
)
VOICES: Final = frozenset(
    {"alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"}
)


@dataclass(frozen=True, slots=True)
class Says:
    """The model speaks."""

    text: str


@dataclass(frozen=True, slots=True)
class Calls:
    """The model calls functions: `(name, arguments)` each, after saying `text` if there is one."""

    calls: Sequence[tuple[str, Mapping[str, object]]]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Fails:
    """The model fails."""

    code: str = "server_error"


Turn = Says | Calls | Fails


class FakeRealtime(FakeService):
    """The service. One conversation for each socket, all with the same script."""

    def __init__(  # noqa: PLR0913 - what a model may do
        self,
        *,
        heard: Sequence[str] = (),
        says: Sequence[Turn] = (),
        key: str = "sk-fake-0123456789",
        first_delay: float = 0.3,
        speed: float = 4.0,
        ms_per_letter: float = MS_PER_LETTER,
        transcript_delays: Sequence[float] = (0.25,),
        latency: float = 0.0,
        expires_after: float | None = None,
    ) -> None:
        """Prepare a script.

        Args:
            heard: What the caller's turns are said to be, in order; later ones repeat the last. `""`: no words.
            says: What the model does when it answers, in order; the last again and again.
            key: The only key that it takes.
            first_delay: Seconds to the first sound of a response.
            speed: How much faster than real time sound is made.
            ms_per_letter: How fast it speaks.
            transcript_delays: Seconds from the end of each turn to its words; the last again and again. `inf`:
                they never come.
            latency: Seconds that every event takes to the client.
            expires_after: Seconds that a session may last.
        """
        super().__init__(key=key)
        self.heard = list(heard)
        self.says = list(says) or [Says("Certainly.")]
        self.first_delay = first_delay
        self.speed = speed
        self.ms_per_letter = ms_per_letter
        self.transcript_delays = list(transcript_delays)
        self.latency = latency
        self.expires_after = expires_after
        self.problems: list[str] = []
        """Everything a client did that the vendor does not allow."""
        self.conversations: list[Conversation] = []
        self.turns_taken = 0
        self.turns_answered = 0

    def may_enter(self, call: Call) -> Refusal | None:
        """The key and the model."""
        if call.headers.get("authorization") != f"Bearer {self.key}":
            return Refusal(401, _error_body("invalid_api_key", "Incorrect API key provided."))
        if not call.path.endswith("/realtime"):
            return Refusal(404, _error_body("not_found", "Not found."))
        if not call.said("model"):
            return Refusal(400, _error_body("missing_model", "You must provide a model parameter."))
        return None

    async def talk(self, call: Call, line: Line) -> None:
        """One conversation."""
        conversation = Conversation(self, line, call.said("model"))
        self.conversations.append(conversation)
        await conversation.run()

    def drop_all(self) -> None:
        """The service goes away without a word."""
        for each in self.conversations:
            each.line.drop()

    @property
    def received(self) -> list[Json]:
        """Every client event of every conversation, audio left out, in order of conversations."""
        return [event for each in self.conversations for event in each.received]

    def of(self, kind: str) -> list[Json]:
        """The client events of one type."""
        return [event for event in self.received if event["type"] == kind]


def _error_body(code: str, message: str) -> bytes:
    error = {"type": "invalid_request_error", "code": code, "message": message, "param": None}
    return msgspec.json.encode({"error": error})


@dataclass(slots=True, eq=False)
class _Response:
    id: str
    task: asyncio.Task[None] | None = None
    item: Json | None = None
    output: list[Json] = field(default_factory=list)
    metadata: Json = field(default_factory=dict)
    words: str = ""
    sound_ms: float = 0.0
    is_over: bool = False


class _Voice:
    """Finds the caller's voice by its loudness, as `server_vad` does."""

    def __init__(self) -> None:
        self.position_ms = 0.0
        self.item = ""
        self.last_ms = 0.0
        self.loud_ms = 0.0
        self.rest = b""


class ClientError(Exception):
    """The client did something wrong; answered with an `error` event."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        """As the vendor words it."""
        super().__init__(message)
        self.code = code
        self.param = param


class Conversation:
    """One socket."""

    def __init__(self, service: FakeRealtime, line: Line, model: str) -> None:
        """Begin with the vendor's defaults."""
        self.line = line
        self.billed: list[Json] = []
        """The usage of each response, as reported."""
        self.received: list[Json] = []
        self.heard_ms = 0.0
        self.items: dict[str, Json] = {}
        """The conversation, in order."""
        self.sounds: dict[str, float] = {}
        """Milliseconds of each assistant item."""
        self.session: Json = {
            "type": "realtime",
            "object": "realtime.session",
            "id": "sess_1",
            "model": model,
            "output_modalities": ["audio"],
            "instructions": "",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "transcription": None,
                    "noise_reduction": None,
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": 0.5,
                        "prefix_padding_ms": 300,
                        "silence_duration_ms": 500,
                        "create_response": True,
                        "interrupt_response": True,
                    },
                },
                "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy"},
            },
            "tools": [],
            "tool_choice": "auto",
        }
        self._service = service
        self._ids = 0
        self._voice = _Voice()
        self._active: _Response | None = None
        self._has_sounded = False
        self._was_updated = False
        self._calls: set[str] = set()
        self._tasks = TaskNest("fake realtime")
        self._outbox: asyncio.Queue[tuple[float, Json]] = asyncio.Queue()

    # ----------------------------------------------------------------------------------- the socket

    async def run(self) -> None:
        """Until one side has enough."""
        loop = asyncio.get_running_loop()
        sending = self._tasks.spawn(self._send_all(), "sending")
        expiry = None
        if self._service.expires_after is not None:
            expiry = loop.call_later(self._service.expires_after, self._expire)
        self._say("session.created", session=self.session)
        try:
            while True:
                self._take(await self.line.receive())
        finally:
            if expiry is not None:
                expiry.cancel()
            sending.cancel()
            await self._tasks.close()

    def _say(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": self._id("event"), **fields}
        at = asyncio.get_running_loop().time() + self._service.latency
        # What is said now is what is true now.
        self._outbox.put_nowait((at, msgspec.json.decode(msgspec.json.encode(event))))

    async def _send_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                at, event = await self._outbox.get()
                if at > loop.time():
                    await asyncio.sleep(at - loop.time())
                if event["type"] == "close":
                    await self.line.close(event["code"], event["reason"])
                    self.line.drop()
                    return
                await self.line.say(event)
        except HungUpError:
            pass

    def _expire(self) -> None:
        message = "Your session hit the maximum duration of 60 minutes."
        self._error(ClientError("session_expired", message), None)
        self._outbox.put_nowait((0.0, {"type": "close", "code": 1001, "reason": "session_expired"}))

    def _id(self, kind: str) -> str:
        self._ids += 1
        number = self._service.conversations.index(self)
        return f"{kind}_{number}_{self._ids:04d}"

    def _take(self, message: str | bytes) -> None:
        event_id = None
        try:
            event = msgspec.json.decode(message)
            event_id = event.get("event_id")
            kind = event.get("type")
            if kind not in _CLIENT_EVENTS:
                raise ClientError(  # noqa: TRY301 - answered below like every other refusal
                    "invalid_value", f"Invalid value: {kind!r}.", "type"
                )
            if kind != "input_audio_buffer.append":
                self.received.append(event)
            getattr(self, "_on_" + kind.replace(".", "_"))(event)
        except ClientError as error:
            self._error(error, event_id)
        except (msgspec.DecodeError, AttributeError, KeyError, TypeError) as error:
            self._error(
                ClientError("invalid_json", f"Could not read the event: {error!r}"), event_id
            )

    def _error(self, error: ClientError, event_id: str | None) -> None:
        self._service.problems.append(f"{error.code}: {error}")
        self._say(
            "error",
            error={
                "type": "invalid_request_error",
                "code": error.code,
                "message": str(error),
                "param": error.param,
                "event_id": event_id,
            },
        )

    # ---------------------------------------------------------------------------------- the session

    def _on_session_update(self, event: Json) -> None:
        session = event["session"]
        if session.get("type") != "realtime":
            raise ClientError("missing_required_parameter", "session.type", "session.type")
        for name in session:
            if name not in _SESSION_FIELDS:
                raise ClientError("unknown_parameter", f"Unknown parameter: {name!r}.", name)
        voice = session.get("audio", {}).get("output", {}).get("voice")
        if isinstance(voice, str) and voice not in VOICES:
            raise ClientError(
                "invalid_value", f"Invalid voice {voice!r}.", "session.audio.output.voice"
            )
        old_voice = self.session["audio"]["output"]["voice"]
        if self._has_sounded and voice is not None and voice != old_voice:
            raise ClientError("cannot_update_voice", "Cannot update a conversation's voice.")
        for direction in ("input", "output"):
            wire = session.get("audio", {}).get(direction, {}).get("format")
            if wire is not None and (
                wire.get("type") not in _FORMATS
                or (wire["type"] == "audio/pcm") != (wire.get("rate") == 24000)  # noqa: PLR2004
            ):
                raise ClientError("invalid_value", f"Invalid format {wire}.", "session.audio")
        _merge(self.session, session)
        self._was_updated = True
        self._say("session.updated", session=self.session)

    @property
    def instructions(self) -> str:
        """What the model was told."""
        return str(self.session["instructions"])

    def _format(self, direction: str) -> AudioFormat:
        return _FORMATS[self.session["audio"][direction]["format"]["type"]]

    @property
    def _detection(self) -> Json | None:
        detection: Json | None = self.session["audio"]["input"]["turn_detection"]
        return detection

    # ------------------------------------------------------------------------------------ the caller

    def _on_input_audio_buffer_append(self, event: Json) -> None:
        try:
            audio = base64.b64decode(event["audio"], validate=True)
        except (binascii.Error, ValueError):
            raise ClientError("invalid_value", "Invalid 'audio': no base64.", "audio") from None
        if not self._was_updated:
            self._service.problems.append("audio before the session was complete")
        source = self._format("input")
        self.heard_ms += source.ms(len(audio))
        self._service.seconds_heard = self.heard_ms / 1000
        voice = self._voice
        data = voice.rest + audio
        size = source.size(_FRAME_MS)
        for start in range(0, len(data) - size + 1, size):
            self._frame(data[start : start + size], source)
        voice.rest = data[len(data) // size * size :]
        if self._service.drops(int(self.heard_ms * 8)):
            self.line.drop()

    def _frame(self, data: bytes, source: AudioFormat) -> None:
        voice, detection = self._voice, self._detection
        voice.position_ms += _FRAME_MS
        is_loud = is_audible(converter(source, MULAW_8K).convert(data))
        if is_loud:
            voice.last_ms = voice.position_ms
        voice.loud_ms = voice.loud_ms + _FRAME_MS if is_loud else 0.0
        if detection is None:
            return
        if not voice.item:
            if voice.loud_ms >= 60:  # noqa: PLR2004 - three frames are no click
                self._started(detection)
        elif voice.position_ms - voice.last_ms >= detection.get("silence_duration_ms", 500):
            self._stopped(detection)

    def _started(self, detection: Json) -> None:
        voice = self._voice
        voice.item = self._id("item")
        padding = detection.get("prefix_padding_ms", 300)
        start = max(0, int(voice.position_ms - voice.loud_ms - padding))
        self._say("input_audio_buffer.speech_started", audio_start_ms=start, item_id=voice.item)
        if detection.get("interrupt_response", True) and self._active is not None:
            self._cancel(self._active, "turn_detected")

    def _stopped(self, detection: Json) -> None:
        voice = self._voice
        item, voice.item = voice.item, ""
        self._say(
            "input_audio_buffer.speech_stopped",
            audio_end_ms=int(voice.position_ms),
            item_id=item,
        )
        self._commit(item)
        if detection.get("create_response", True):
            if self._active is None:
                self._create({})
            else:
                message = "Conversation already has an active response in progress."
                self._error(ClientError("conversation_already_has_active_response", message), None)

    def _commit(self, item: str) -> None:
        self._say("input_audio_buffer.committed", previous_item_id=self._last_item(), item_id=item)
        content = [{"type": "input_audio", "transcript": None}]
        self._add(_message(item, "user", content, "completed"))
        if self.session["audio"]["input"]["transcription"] is not None:
            service = self._service
            number = service.turns_taken
            service.turns_taken += 1
            delays = service.transcript_delays
            delay = delays[min(number, len(delays) - 1)]
            heard = service.heard
            words = heard[min(number, len(heard) - 1)] if heard else ""
            if delay != float("inf"):
                self._tasks.spawn(self._transcribe(item, words, delay), "transcription")

    async def _transcribe(self, item: str, words: str, delay: float) -> None:
        await asyncio.sleep(delay)
        prefix = "conversation.item.input_audio_transcription"
        if words:
            half = words[: len(words) // 2]
            self._say(f"{prefix}.delta", item_id=item, content_index=0, delta=half)
        self._say(
            f"{prefix}.completed",
            item_id=item,
            content_index=0,
            transcript=words,
            usage={
                "type": "tokens",
                "total_tokens": 20,
                "input_tokens": 14,
                "output_tokens": 6,
                "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
            },
        )

    def _on_input_audio_buffer_commit(self, event: Json) -> None:
        del event
        if not self._voice.last_ms:
            message = "Error committing input audio buffer: buffer too small."
            raise ClientError("input_audio_buffer_commit_empty", message)
        self._commit(self._id("item"))

    def _on_input_audio_buffer_clear(self, event: Json) -> None:
        del event
        self._voice.item = ""
        self._say("input_audio_buffer.cleared")

    def _on_output_audio_buffer_clear(self, event: Json) -> None:
        raise ClientError("invalid_value", "Only for WebRTC and SIP.", "type")

    # ------------------------------------------------------------------------------ the conversation

    def _last_item(self) -> str | None:
        return next(reversed(self.items), None)

    def _add(self, item: Json, *, is_done: bool = True) -> None:
        previous = self._last_item()
        self.items[item["id"]] = item
        self._say("conversation.item.added", previous_item_id=previous, item=item)
        if is_done:
            self._say("conversation.item.done", previous_item_id=previous, item=item)

    def _on_conversation_item_create(self, event: Json) -> None:
        item = dict(event["item"])
        match item["type"]:
            case "message":
                self._check_message(item)
            case "function_call":
                self._calls.add(item["call_id"])
            case "function_call_output":
                if item["call_id"] not in self._calls:
                    message = f"Tool call ID {item['call_id']!r} not found in conversation."
                    raise ClientError("invalid_tool_call_id", message, "item.call_id")
                if not isinstance(item["output"], str):
                    raise ClientError("invalid_type", "output must be a string", "item.output")
            case other:
                raise ClientError("invalid_value", f"Invalid value: {other!r}.", "item.type")
        item.setdefault("id", self._id("item"))
        item |= {"object": "realtime.item", "status": "completed"}
        self._add(item)

    def _check_message(self, item: Json) -> None:
        allowed = {
            "user": {"input_text", "input_audio", "input_image"},
            "system": {"input_text"},
            "assistant": {"output_text"},
        }
        for part in item["content"]:
            if part["type"] not in allowed[item["role"]]:
                message = f"Invalid value: {part['type']!r} for role {item['role']!r}."
                raise ClientError("invalid_value", message, "item.content")

    def _on_conversation_item_truncate(self, event: Json) -> None:
        name = event["item_id"]
        item = self.items.get(name)
        if item is None:
            raise ClientError("item_not_found", f"No item {name!r}.", "item_id")
        length = self.sounds.get(name)
        if length is None or event["content_index"] != 0:
            raise ClientError("invalid_value", "Only assistant audio can be truncated.", "item_id")
        end = event["audio_end_ms"]
        if not isinstance(end, int) or end < 0 or end > length + 1:
            message = f"Audio content of {int(length)}ms is already shorter than {end}ms"
            raise ClientError("invalid_value", message, "audio_end_ms")
        self.sounds[name] = float(end)
        item["content"] = [{"type": "output_audio"}]
        self._say("conversation.item.truncated", item_id=name, content_index=0, audio_end_ms=end)

    def _on_conversation_item_delete(self, event: Json) -> None:
        if self.items.pop(event["item_id"], None) is None:
            raise ClientError("item_not_found", f"No item {event['item_id']!r}.", "item_id")
        self._say("conversation.item.deleted", item_id=event["item_id"])

    def _on_conversation_item_retrieve(self, event: Json) -> None:
        if event["item_id"] not in self.items:
            raise ClientError("item_not_found", f"No item {event['item_id']!r}.", "item_id")
        self._say("conversation.item.retrieved", item=self.items[event["item_id"]])

    # ----------------------------------------------------------------------------------- responses

    def _on_response_create(self, event: Json) -> None:
        if self._active is not None:
            message = (
                "Conversation already has an active response in progress: "
                f"{self._active.id}. Wait until the response is finished before creating a new one."
            )
            raise ClientError("conversation_already_has_active_response", message)
        self._create(event.get("response") or {})

    def _on_response_cancel(self, event: Json) -> None:
        active = self._active
        if active is None or event.get("response_id") not in {None, active.id}:
            self._service.problems.append("note: response.cancel with nothing to cancel")
            message = "Cancellation failed: no active response found"
            self._service.problems.pop()
            self._say(
                "error",
                error={
                    "type": "invalid_request_error",
                    "code": "response_cancel_not_active",
                    "message": message,
                    "param": None,
                    "event_id": event.get("event_id"),
                },
            )
            return
        self._cancel(active, "client_cancelled")

    def _create(self, wanted: Json) -> None:
        response = _Response(self._id("resp"), metadata=wanted.get("metadata") or {})
        self._active = response
        self._say("response.created", response=self._shown(response, "in_progress"))
        self._say(
            "rate_limits.updated",
            rate_limits=[
                {"name": "tokens", "limit": 40000, "remaining": 39000, "reset_seconds": 1.5}
            ],
        )
        response.task = self._tasks.spawn(self._respond(response, wanted), "response")

    def _turn(self, wanted: Json) -> Turn:
        if "input" in wanted and wanted.get("instructions"):
            # A good model says what it is told to say, which stands after an empty line.
            return Says(str(wanted["instructions"]).rpartition("\n\n")[2])
        service = self._service
        turn = service.says[min(service.turns_answered, len(service.says) - 1)]
        service.turns_answered += 1
        return turn

    async def _respond(self, response: _Response, wanted: Json) -> None:
        await asyncio.sleep(self._service.first_delay)
        turn = self._turn(wanted)
        match turn:
            case Fails(code=code):
                error = {
                    "type": "server_error",
                    "code": code,
                    "message": "The server had an error.",
                }
                details = {"type": "failed", "error": error}
                self._end(response, "failed", details)
                return
            case Says(text=text):
                await self._speak(response, text)
            case Calls():
                if turn.text:
                    await self._speak(response, turn.text)
                for name, arguments in turn.calls:
                    self._call_function(response, name, arguments)
        self._end(response, "completed", {"type": "completed"})

    async def _speak(self, response: _Response, text: str) -> None:
        item = _message(self._id("item"), "assistant", [], "in_progress")
        response.item = item
        index = len(response.output)
        place = {"response_id": response.id, "output_index": index}
        self._say("response.output_item.added", **place, item=item)
        self._add(item, is_done=False)
        part = {**place, "item_id": item["id"], "content_index": 0}
        self._say("response.content_part.added", **part, part={"type": "audio", "transcript": ""})
        self.sounds[item["id"]] = 0.0
        made = self._format("output")
        sound = converter(MULAW_8K, made)
        words = deque(text.split(" "))
        told = 0
        pace = self._service.ms_per_letter
        total_ms = max(_DELTA_MS, pace * len(text))
        while response.sound_ms < total_ms:
            # The words run a little ahead of the sound.
            while words and told * pace < response.sound_ms + 2 * _DELTA_MS:
                word = words.popleft() if not told else " " + words.popleft()
                told += len(word)
                response.words += word
                self._say("response.output_audio_transcript.delta", **part, delta=word)
            step = min(_DELTA_MS, total_ms - response.sound_ms)
            audio = sound.convert(buzz(step))
            response.sound_ms += step
            self._has_sounded = True
            self.sounds[item["id"]] = response.sound_ms
            delta = base64.b64encode(audio).decode()
            self._say("response.output_audio.delta", **part, delta=delta)
            await asyncio.sleep(step / 1000 / self._service.speed)
        rest = sound.flush()
        if rest:
            delta = base64.b64encode(rest).decode()
            self._say("response.output_audio.delta", **part, delta=delta)
        self._finish_item(response)

    def _finish_item(self, response: _Response, status: str = "completed") -> None:
        item, response.item = response.item, None
        if item is None:
            return
        place = {"response_id": response.id, "output_index": len(response.output)}
        part = {**place, "item_id": item["id"], "content_index": 0}
        content = {"type": "output_audio", "transcript": response.words}
        item["content"], item["status"] = [content], status
        self._say("response.output_audio.done", **part)
        self._say("response.output_audio_transcript.done", **part, transcript=response.words)
        self._say(
            "response.content_part.done",
            **part,
            part={"type": "audio", "transcript": response.words},
        )
        self._say("response.output_item.done", **place, item=item)
        self._say("conversation.item.done", previous_item_id=None, item=item)
        response.output.append(item)
        response.words, response.sound_ms = "", 0.0

    def _call_function(
        self, response: _Response, name: str, arguments: Mapping[str, object]
    ) -> None:
        call_id = self._id("call")
        self._calls.add(call_id)
        text = msgspec.json.encode(arguments).decode()
        item = {
            "id": self._id("item"),
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
            "call_id": call_id,
            "name": name,
            "arguments": "",
        }
        place = {"response_id": response.id, "output_index": len(response.output)}
        self._say("response.output_item.added", **place, item=item)
        self._add(item, is_done=False)
        part = {**place, "item_id": item["id"], "call_id": call_id}
        self._say("response.function_call_arguments.delta", **part, delta=text)
        item |= {"arguments": text, "status": "completed"}
        self._say("response.function_call_arguments.done", **part, name=name, arguments=text)
        self._say("response.output_item.done", **place, item=item)
        response.output.append(item)

    def _cancel(self, response: _Response, reason: str) -> None:
        if response.task is not None:
            response.task.cancel()
        self._finish_item(response, "incomplete")
        self._end(response, "cancelled", {"type": "cancelled", "reason": reason})

    def _end(self, response: _Response, status: str, details: Json) -> None:
        if response.is_over:
            return
        response.is_over = True
        self._active = None
        shown = self._shown(response, status)
        shown["status_details"] = details
        spoken = sum(
            len(part.get("transcript") or "")
            for item in response.output
            for part in item.get("content") or ()
        )
        shown["usage"] = {
            "total_tokens": 132 + spoken,
            "input_tokens": 132,
            "output_tokens": spoken,
            "input_token_details": {
                "text_tokens": 100,
                "audio_tokens": 32,
                "image_tokens": 0,
                "cached_tokens": 64,
                "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0, "image_tokens": 0},
            },
            "output_token_details": {"text_tokens": spoken // 4, "audio_tokens": spoken},
        }
        self.billed.append(shown["usage"])
        self._say("response.done", response=shown)

    def _shown(self, response: _Response, status: str) -> Json:
        return {
            "object": "realtime.response",
            "id": response.id,
            "status": status,
            "status_details": None,
            "output": response.output,
            "conversation_id": "conv_1",
            "output_modalities": ["audio"],
            "metadata": response.metadata or None,
            "usage": None,
        }


def _message(name: str, role: str, content: list[Json], status: str) -> Json:
    return {
        "id": name,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": role,
        "content": content,
    }


def _merge(old: Json, new: Mapping[str, Any]) -> None:
    whole = {"turn_detection", "format"}
    for name, value in new.items():
        if isinstance(value, Mapping) and isinstance(old.get(name), dict) and name not in whole:
            _merge(old[name], value)
        else:
            old[name] = msgspec.json.decode(msgspec.json.encode(value))
