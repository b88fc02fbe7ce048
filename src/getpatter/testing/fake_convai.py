"""ElevenLabs Agents (ConvAI) on this machine: signed addresses, real sockets, real audio.

```python
async with FakeConvAI(heard=["A haircut."], says=["Which day?"]) as service:
    engine = ElevenLabsConvAI(service.key, service.agent_id, base_url=service.url)
```

Works in virtual time, and without a port by `testing.memory.in_memory`. What a client does wrong is remembered in
`problems`.
"""

from __future__ import annotations

import asyncio
import base64
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

__all__ = ["AgentCalls", "FakeConvAI"]

Json = dict[str, Any]

MS_PER_LETTER: Final = 60.0
_CHUNK_MS: Final = 250.0
_FRAME_MS: Final = 20
_SIGNED: Final = "/v1/convai/conversation/get-signed-url"
_CLIENT_MESSAGES: Final = frozenset(
    {
        "pong",
        "user_message",
        "user_activity",
        "contextual_update",
        "client_tool_result",
        "feedback",
        "mcp_tool_approval_result",
        "multimodal_message",
    }
)


@dataclass(frozen=True, slots=True)
class AgentCalls:
    """The agent says `text`, calls client tools (`(name, parameters)` each) at once, and then says `then`."""

    calls: Sequence[tuple[str, Mapping[str, object]]]
    then: str
    text: str = ""


class FakeConvAI(FakeService):
    """The service with one agent."""

    def __init__(  # noqa: PLR0913 - what an agent may do
        self,
        *,
        heard: Sequence[str] = (),
        says: Sequence[str | AgentCalls] = ("Certainly.",),
        greeting: str = "Hello.",
        key: str = "xi-fake-0123456789",
        agent_id: str = "agent_1",
        audio_format: str = "ulaw_8000",
        quiet_ms: float = 400.0,
        first_delay: float = 0.3,
        speed: float = 4.0,
        allows_overrides: bool = True,
        ping_every: float = 2.0,
    ) -> None:
        """Prepare a script: `heard` and `says` in order, the last of each again and again."""
        super().__init__(key=key)
        self.agent_id = agent_id
        self.heard = list(heard)
        self.says = list(says)
        self.greeting = greeting
        self.audio_format = audio_format
        self.quiet_ms = quiet_ms
        self.first_delay = first_delay
        self.speed = speed
        self.allows_overrides = allows_overrides
        self.ping_every = ping_every
        self.problems: list[str] = []
        self.conversations: list[Conversation] = []
        self.turns_heard = 0
        self.turns_answered = 0
        self._signatures: set[str] = set()

    def may_enter(self, call: Call) -> Refusal | None:
        """The key for a signed address, the signature for a socket."""
        if call.path == _SIGNED:
            if call.headers.get("xi-api-key") != self.key:
                return Refusal(401, b'{"detail":{"status":"invalid_api_key"}}')
            if call.said("agent_id") != self.agent_id:
                return Refusal(404, b'{"detail":{"status":"agent_not_found"}}')
            return None
        if call.path != "/v1/convai/conversation":
            return Refusal(404)
        signature = call.said("conversation_signature")
        if signature not in self._signatures:
            return Refusal(403, b'{"detail":{"status":"not_signed"}}')
        self._signatures.discard(signature)
        return None

    def _signed_url(self, call: Call) -> str:
        signature = secrets.token_hex(8)
        self._signatures.add(signature)
        return (
            f"{self.ws_url}/v1/convai/conversation?agent_id={call.said('agent_id')}"
            f"&conversation_signature={signature}"
        )

    async def http(self, call: Call, answer: Answer) -> None:
        """Sign an address."""
        await answer.whole(
            Refusal(200, msgspec.json.encode({"signed_url": self._signed_url(call)}))
        )

    def answer_http(self, request: HttpRequest) -> HttpResponse:
        """The same without a port."""
        parts = urlsplit(request.url)
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(request.method, parts.path, parse_qs(parts.query), headers)
        refused = self.refusals.pop(0) if self.refusals else self.may_enter(call)
        if refused is not None:
            return HttpResponse(refused.status, dict(refused.headers), refused.body)
        return HttpResponse(200, {}, msgspec.json.encode({"signed_url": self._signed_url(call)}))

    async def talk(self, call: Call, line: Line) -> None:
        """One conversation."""
        del call
        conversation = Conversation(self, line)
        self.conversations.append(conversation)
        await conversation.run()

    def drop_all(self) -> None:
        """The service goes away without a word."""
        for each in self.conversations:
            each.line.drop()

    def of(self, kind: str) -> list[Json]:
        """The client messages of one type, over all conversations."""
        return [
            each for talk in self.conversations for each in talk.received if each["type"] == kind
        ]


def _audio_format(name: str) -> AudioFormat:
    kind, _, rate = name.partition("_")
    return AudioFormat(Encoding.MULAW if kind == "ulaw" else Encoding.PCM16, int(rate))


class Conversation:
    """One socket."""

    def __init__(self, service: FakeConvAI, line: Line) -> None:
        """Wait for the client's first word."""
        self.line = line
        self.received: list[Json] = []
        self.initiation: Json = {}
        self.pongs = 0
        self._service = service
        self._format = _audio_format(service.audio_format)
        self._event = 0
        self._speaking: asyncio.Task[None] | None = None
        self._said = ""
        self._told_ms = 0.0
        self._began_at = 0.0
        self._position = 0.0
        self._last_loud = 0.0
        self._loud_ms = 0.0
        self._is_voice = False
        self._rest = b""
        self._results: dict[str, asyncio.Future[Json]] = {}
        self._tasks = TaskNest("fake convai")

    async def run(self) -> None:
        """Until one side has enough."""
        try:
            first = msgspec.json.decode(await self.line.receive())
            if first.get("type") != "conversation_initiation_client_data":
                self._service.problems.append("the first message was no initiation")
            self.initiation = first
            if first.get("conversation_config_override") and not self._service.allows_overrides:
                await self.line.close(1008, "Override for field 'prompt' is not allowed by config.")
                return
            await self._begin()
            while True:
                await self._take(msgspec.json.decode(await self.line.receive()))
        finally:
            await self._tasks.close()

    async def _begin(self) -> None:
        name = self._service.audio_format
        await self._say(
            "conversation_initiation_metadata",
            conversation_initiation_metadata_event={
                "conversation_id": "conv_1",
                "agent_output_audio_format": name,
                "user_input_audio_format": name,
            },
        )
        self._tasks.spawn(self._ping(), "pings")
        override = self.initiation.get("conversation_config_override", {}).get("agent", {})
        greeting = override.get("first_message", self._service.greeting)
        if greeting:
            self._answer(greeting)

    async def _say(self, kind: str, **fields: Any) -> None:
        await self.line.say({"type": kind, **fields})

    async def _ping(self) -> None:
        number = 0
        try:
            while True:
                await asyncio.sleep(self._service.ping_every)
                if number > self.pongs + 2:
                    await self.line.close(1002, "no pong")
                    return
                number += 1
                await self._say("ping", ping_event={"event_id": number, "ping_ms": 20})
        except HungUpError:
            pass

    async def _take(self, message: Json) -> None:
        if "user_audio_chunk" in message:
            await self._hear(base64.b64decode(message["user_audio_chunk"]))
            return
        kind = message.get("type")
        if kind not in _CLIENT_MESSAGES:
            self._service.problems.append(f"unknown message {kind!r}")
            return
        self.received.append(message)
        match kind:
            case "pong":
                self.pongs += 1
            case "user_message":
                await self._stop()
                self._answer(self._next_turn(message["text"]))
            case "client_tool_result":
                waiting = self._results.pop(message["tool_call_id"], None)
                if waiting is None:
                    self._service.problems.append("a result that nobody asked for")
                elif not isinstance(message["result"], str) or not isinstance(
                    message["is_error"], bool
                ):
                    self._service.problems.append("a result of the wrong form")
                else:
                    waiting.set_result(message)
            case _:
                pass

    def _next_turn(self, text: str = "") -> str | AgentCalls:
        _, found, exact = text.partition("nothing else: ")
        if found:
            return exact
        service = self._service
        turn = service.says[min(service.turns_answered, len(service.says) - 1)]
        service.turns_answered += 1
        return turn

    # ------------------------------------------------------------------------------------ the caller

    async def _hear(self, audio: bytes) -> None:
        data = self._rest + audio
        size = self._format.size(_FRAME_MS)
        for start in range(0, len(data) - size + 1, size):
            frame = converter(self._format, MULAW_8K).convert(data[start : start + size])
            self._position += _FRAME_MS
            is_loud = is_audible(frame)
            self._loud_ms = self._loud_ms + _FRAME_MS if is_loud else 0.0
            if is_loud:
                self._last_loud = self._position
            if self._loud_ms >= 100 and not self._is_voice:  # noqa: PLR2004 - sure of a voice
                self._is_voice = True
                await self._interrupt()
            elif self._is_voice and self._position - self._last_loud >= self._service.quiet_ms:
                self._is_voice = False
                await self._turn_over()
        self._rest = data[len(data) // size * size :]

    async def _interrupt(self) -> None:
        played = (asyncio.get_running_loop().time() - self._began_at) * 1000
        length = MS_PER_LETTER * len(self._said)
        if not self._said or played >= length:
            return
        original, self._said = self._said, ""
        await self._stop()
        await self._say("interruption", interruption_event={"event_id": self._event})
        corrected = original[: int(played / MS_PER_LETTER)]
        await self._say(
            "agent_response_correction",
            agent_response_correction_event={
                "original_agent_response": original,
                "corrected_agent_response": corrected,
                "event_id": self._event,
            },
        )

    async def _stop(self) -> None:
        if self._speaking is not None:
            self._speaking.cancel()
            self._speaking = None

    async def _turn_over(self) -> None:
        service = self._service
        heard = service.heard
        words = heard[min(service.turns_heard, len(heard) - 1)] if heard else "..."
        service.turns_heard += 1
        self._event += 1
        await self._say(
            "user_transcript",
            user_transcription_event={"user_transcript": words, "event_id": self._event},
        )
        self._answer(self._next_turn())

    # ------------------------------------------------------------------------------------- the agent

    def _answer(self, turn: str | AgentCalls) -> None:
        self._speaking = self._tasks.spawn(self._perform(turn), "speaking")

    async def _perform(self, turn: str | AgentCalls) -> None:
        try:
            await asyncio.sleep(self._service.first_delay)
            if isinstance(turn, AgentCalls):
                turn = await self._use(turn)
            await self._speak(turn)
        except HungUpError:
            pass

    async def _use(self, turn: AgentCalls) -> str:
        results = [await self._call(name, parameters) for name, parameters in turn.calls]
        if turn.text:
            await self._speak(turn.text)
        await asyncio.gather(*results)
        await asyncio.sleep(self._service.first_delay)
        return turn.then

    async def _call(self, name: str, parameters: Mapping[str, object]) -> asyncio.Future[Json]:
        result: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._event += 1
        number = f"tc_{self._event}"
        self._results[number] = result
        await self._say(
            "client_tool_call",
            client_tool_call={
                "tool_name": name,
                "tool_call_id": number,
                "parameters": dict(parameters),
                "event_id": self._event,
            },
        )
        return result

    async def _speak(self, text: str) -> None:
        self._said = text
        self._began_at = asyncio.get_running_loop().time()
        self._event += 1
        await self._say(
            "agent_response", agent_response_event={"agent_response": text, "event_id": self._event}
        )
        sound = converter(MULAW_8K, self._format)
        left = MS_PER_LETTER * len(text)
        while left > 0:
            step = min(_CHUNK_MS, left)
            left -= step
            self._event += 1
            audio = sound.convert(buzz(step))
            await self._say(
                "audio",
                audio_event={
                    "audio_base_64": base64.b64encode(audio).decode(),
                    "event_id": self._event,
                },
            )
            await asyncio.sleep(step / 1000 / self._service.speed)
