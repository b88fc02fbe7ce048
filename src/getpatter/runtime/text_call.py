"""A call without a phone: the caller types, the agent's words are read, and nothing waits for sound.

Everything between ears and mouth is that of a real call (`runtime/line.py`): turns, hooks, guardrails, tools,
history, callbacks, limits. Only the rim is of text:

```
say("hello") -> TextEars (a recogniser) -> ... the call ... -> TextVoice (a voice) -> spoken("Hi!")
                                                            -> TextWire: each mark comes back at once
```
"""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self, TypeVar

from getpatter.agent import Agent
from getpatter.carriers.base import (
    StreamStarted,
    TargetProgressed,
)
from getpatter.core.turns import Floor
from getpatter.models import Transcript
from getpatter.net.public import PublicHttp
from getpatter.observability.event_bus import EventBus
from getpatter.pricing import merge_pricing
from getpatter.runtime.consulting import Consulting
from getpatter.runtime.control import CallControl
from getpatter.runtime.detector import SharedDetector
from getpatter.runtime.house import House
from getpatter.runtime.identity import Identity, Orders
from getpatter.runtime.line import Line
from getpatter.runtime.remote import RemoteMessages
from getpatter.runtime.tasks import TaskNest
from getpatter.runtime.text_rim import NoHttp, TextCarrier, TextSocket
from getpatter.runtime.webhook_tools import WebhookTools
from getpatter.runtime.wheel import PacingWheel
from getpatter.runtime.wording import settle
from getpatter.types import MULAW_8K, AudioFormat

Callback = Callable[..., object]
_T = TypeVar("_T")

CALLER: Final = "+15550000001"
CALLEE: Final = "+15550000002"
QUIET_WITHIN: Final = 60.0
FAREWELL_WITHIN: Final = 30.0

_PIECE: Final = MULAW_8K.silence * MULAW_8K.size(20)
_ALIVE_EVERY: Final = 10.0
_LOOK_EVERY: Final = 0.005
_FREE: Final = {"test": {"price": 0.0}, "text": {"price": 0.0}}
_WAITS_FOR_CALLER: Final = frozenset({Floor.OPEN, Floor.CLOSED})


class TextEars:
    """A recogniser that is told the words."""

    provider_key = "text"
    model = ""

    def __init__(self) -> None:
        """Nothing was said yet."""
        self._said: deque[str] = deque()
        self._wake = asyncio.Event()
        self._is_closed = False
        self._is_reading = False

    @property
    def is_idle(self) -> bool:
        """Whether everything that was said has reached the call."""
        return not self._said and not self._is_reading

    def hear(self, text: str) -> None:
        """The caller says this, and has finished."""
        self._said.append(text)
        self._wake.set()

    async def connect(self) -> None:
        """Nothing to open."""

    def feed(self, data: bytes) -> None:
        """There is no sound to hear."""

    async def send_audio(self, pcm: bytes) -> None:
        """There is no sound to hear."""

    async def receive_transcripts(self) -> AsyncIterator[Transcript]:
        """What is said, whole turns."""
        while not self._is_closed:
            while self._said:
                self._is_reading = True
                yield Transcript(
                    self._said.popleft(), is_final=True, confidence=1.0, speech_final=True
                )
            self._is_reading = False
            self._wake.clear()
            await self._wake.wait()

    async def close(self) -> None:
        """End the results."""
        self._is_closed = True
        self._wake.set()


class TextVoice:
    """A voice that is read: a piece of silence stands for each sentence."""

    provider_key = "text"
    model = ""
    output_format: AudioFormat = MULAW_8K

    def __init__(self, spoken: Callable[[str], None]) -> None:
        """`spoken` is given each sentence when it would be heard."""
        self._spoken = spoken

    async def synthesize(self, text: str) -> AsyncIterator[bytes]:
        """Say `text`."""
        self._spoken(text)
        yield _PIECE

    async def close(self) -> None:
        """Nothing to close."""


class NoDetector:
    """Hears no voices: there are none."""

    async def process_frame(self, pcm: bytes, sample_rate: int) -> None:
        """Nothing is heard."""

    def reset(self) -> None:
        """Nothing to forget."""

    async def close(self) -> None:
        """Nothing to close."""


def text_agent(
    agent: Agent, ears: TextEars, voice: TextVoice, writer: Callable[[Agent], Agent]
) -> Agent:
    """`agent` with ears and mouth of text. `writer` gives a model to one that has none of text, such as an engine's."""
    texted = dataclasses.replace(
        agent,
        engine=None,
        provider=None,
        stt=ears,
        tts=voice,
        vad=NoDetector(),
        audio_filter=None,
        background_audio=None,
        turn_detector=None,
        prewarm=False,
        handoffs={name: _in_text(taker) for name, taker in agent.handoffs.items()},
    )
    return (
        texted if texted.llm is not None else writer(agent if agent.engine is not None else texted)
    )


def _in_text(taker: Agent) -> Agent:
    """Whoever takes over speaks with the voice that is read; their own is not opened."""
    handoffs = {name: _in_text(each) for name, each in taker.handoffs.items()}
    return dataclasses.replace(taker, engine=None, stt=None, tts=None, handoffs=handoffs)


# ------------------------------------------------------------------------------------------ the call


@dataclass(frozen=True, slots=True)
class TextOptions:
    """How a call in text is held; as in `serve()` where the names are the same."""

    on_message: Callback | str | None = None
    on_call_start: Callback | None = None
    on_call_end: Callback | None = None
    on_transcript: Callback | None = None
    on_metrics: Callback | None = None
    call_id: str = ""
    caller: str = CALLER
    callee: str = CALLEE
    custom_params: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_private_urls: bool = False
    webhook_secret: str = field(default="", repr=False)


class TextCall:
    """One call in text: `begin`, then `say` and `quiet` in turns, then `end`. `async with` does both ends."""

    def __init__(
        self,
        agent: Agent,
        *,
        options: TextOptions | None = None,
        writer: Callable[[Agent], Agent],
        spoken: Callable[[str], None] = lambda _: None,
        keyed: Callable[[str], None] = lambda _: None,
        bus: EventBus | None = None,
    ) -> None:
        """Prepare.

        Args:
            agent: Who talks. Its recogniser, voice, detector and engine are left out.
            options: How.
            writer: Gives an agent a text model; asked for one without `llm`, unless `on_message` answers.
            spoken: Told each sentence when it would be heard.
            keyed: Told the keys that the agent presses.
            bus: Where events go.

        Raises:
            ValueError: nobody can write the replies.
        """
        self.options = options = options or TextOptions()
        self._writer = writer if options.on_message is None else _unchanged
        self._ears = TextEars()
        self._voice = TextVoice(spoken)
        self._agent = self._texted(agent)
        self._carrier = TextCarrier(keyed, self._connected)
        self._bus = bus if bus is not None else EventBus()
        self._nest = TaskNest("call in text")
        self._outside: list[PublicHttp] = []
        self._socket: TextSocket | None = None
        self._line: Line | None = None
        self.call_id = options.call_id or f"test_{secrets.token_hex(6)}"

    def _texted(self, agent: Agent) -> Agent:
        return text_agent(agent, self._ears, self._voice, self._writer)

    @property
    def line(self) -> Line:
        """The call."""
        assert self._line is not None, "begin() first"
        return self._line

    @property
    def history(self) -> list[dict[str, object]]:
        """What was said, as in callbacks: `role`, `text`, `timestamp`."""
        call = self.line.call
        return call.session.history.to_dicts() if call is not None else []

    @property
    def control(self) -> CallControl:
        """What a program may do to the call."""
        return self.line.control

    @property
    def is_over(self) -> bool:
        """Whether the conversation has ended."""
        return self._line is not None and self._line.is_over

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def begin(self) -> None:
        """The phone rings and is answered: `on_call_start`, then the first message. Waits until it was said."""
        options = self.options
        wheel = PacingWheel()
        remote = None
        if isinstance(options.on_message, str):
            remote = RemoteMessages(
                options.on_message,
                self._public("on_message"),
                secret=options.webhook_secret,
                allow_private=options.allow_private_urls,
            )
        house = House(
            host="test",
            wheel=wheel,
            detector=SharedDetector(wheel),
            http=NoHttp(),
            nest=self._nest,
            bus=self._bus,
            pricing=merge_pricing(_FREE),
            on_call_start=self._starting,
            on_call_end=options.on_call_end,
            on_transcript=options.on_transcript,
            on_metrics=options.on_metrics,
            on_message=options.on_message if callable(options.on_message) else None,
            webhooks=WebhookTools(self._public("tool")),
            consulting=Consulting(self._public("consult"), self._public("consult", anywhere=True)),
            remote=remote,
        )
        identity = Identity(
            call_id=self.call_id,
            caller=options.caller,
            callee=options.callee,
            direction="test",
            carrier=self._carrier.name,
            custom_params=options.custom_params,
        )
        orders = Orders(agent=self._agent, first_message=self._agent.first_message)
        line = self._line = Line(identity, self._carrier, orders, house)
        socket = self._socket = TextSocket()
        call = line.answer(
            socket, self._carrier.wire(), StreamStarted("text", self.call_id, MULAW_8K)
        )
        socket.received = call.received
        self._nest.spawn(self._stay_alive(call.received), name="alive")
        await self.quiet()

    def _public(self, what: str, *, anywhere: bool = False) -> PublicHttp:
        client = PublicHttp(what, allow_private=anywhere or self.options.allow_private_urls)
        self._outside.append(client)
        return client

    async def _starting(self, event: Mapping[str, object]) -> Mapping[str, object] | None:
        """Ask the program; what it changes stays a call in text."""
        if self.options.on_call_start is None:
            return None
        answer = await settle(self.options.on_call_start(event))
        if not isinstance(answer, Mapping):
            return None
        changes = {key: value for key, value in answer.items() if key not in {"stt", "tts"}}
        agent = changes.get("agent")
        if isinstance(agent, Agent):
            changes["agent"] = self._texted(agent)
        return changes

    def _connected(self) -> None:
        self.line.steering.told(TargetProgressed(self.call_id, "connected"))

    async def _stay_alive(self, received: Callable[[bytes], None]) -> None:
        while True:
            await asyncio.sleep(_ALIVE_EVERY)
            received(b"alive")

    # ------------------------------------------------------------------------------------- talking

    def say(self, text: str) -> None:
        """The caller says this. Returns at once: `await quiet()` for the answer."""
        self._ears.hear(text)

    def press(self, digit: str) -> None:
        """The caller presses a key (`0-9 A-D * #`)."""
        self._frame(b"key " + digit.encode())

    async def quiet(self, within: float = QUIET_WITHIN) -> None:
        """Wait until everything was answered and it is the caller's turn, or the call is over.

        Raises:
            TimeoutError: it was not, after `within` seconds.
        """
        async with asyncio.timeout(within):
            while not self._is_quiet():  # noqa: ASYNC110 - many things end a turn; a look costs nothing
                await asyncio.sleep(_LOOK_EVERY)

    def _is_quiet(self) -> bool:
        call = self.line.call
        if call is None or self.line.is_over:
            return True
        return self.line.is_open and self._ears.is_idle and call.session.floor in _WAITS_FOR_CALLER

    # ---------------------------------------------------------------------------------------- ends

    def hang_up(self) -> None:
        """The caller hangs up."""
        self._frame(b"stop")

    async def end(self) -> None:
        """Hang up, if nobody has, and wait for `on_call_end`. Idempotent."""
        if self._line is None:
            return
        self.hang_up()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_WITHIN):
                await self._line.settled()
        await self._nest.close()
        await asyncio.gather(*(each.aclose() for each in self._outside))

    def _frame(self, frame: bytes) -> None:
        if self._socket is not None and not self.is_over:
            self._socket.received(frame)


def _unchanged(agent: Agent) -> Agent:
    return agent
