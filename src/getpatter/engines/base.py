"""What stands between a call and a speech-to-speech service: the words they share, and the seam.

A vendor is two things in one file: an `Engine`, which a program makes (a frozen dataclass: key, voice, model), and
a `Dialect`, which translates for one connection. A dialect is pure: it is given frames and commands, and returns
events and frames. Sockets, alarms and tools are `runtime/duplex.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from getpatter.agent_parts import RealtimeTurnDetection
from getpatter.core import messages as m
from getpatter.core.engine_manners import EngineManners
from getpatter.errors import PatterError
from getpatter.net.messages import Exchange
from getpatter.net.sockets import SocketRequest
from getpatter.types import MULAW_8K, AudioFormat

Frame: TypeAlias = str | bytes
"""A text message; `bytes` are UTF-8 already, unless they are `Binary`."""


class Binary(bytes):
    """A frame that goes out as a binary message."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ToolSchema:
    """A function that the model may call."""

    name: str
    description: str
    parameters: Mapping[str, object]
    """JSON Schema of an object."""


@dataclass(frozen=True, slots=True)
class Briefing:
    """Everything that an engine must be told before it hears the caller. Equal briefings make equal sessions."""

    instructions: str
    """With variables put in."""
    first_message: str = ""
    language: str = "en"
    tools: tuple[ToolSchema, ...] = ()
    stream: AudioFormat = MULAW_8K
    """What the carrier speaks; an engine that can takes and makes the same."""
    interrupts: bool = True
    """False: speech over the agent does not stop it (`barge_in_threshold_ms=0`)."""
    interrupts_late: bool = False
    """Interruptions are decided here, because the threshold is above the engine's own."""
    interrupts_after_ms: float = 300.0
    """Speech over the agent that stops it, for engines that can be told (`barge_in_threshold_ms`)."""
    voice: str | None = None
    """Of the agent, where the engine names none."""
    model: str | None = None
    turn_detection: RealtimeTurnDetection | None = None
    noise_reduction: str | None = None
    gate_on_transcript: bool | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    is_guarded: bool = False
    is_resumed: bool = False
    """The call goes on after a connection was lost: nobody is greeted again."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one response, or the transcription of one turn, will be billed for."""

    provider: str
    """Key of the price table."""
    model: str
    """The model really used."""
    input_text_tokens: int = 0
    """Not from the cache; so are audio tokens."""
    input_audio_tokens: int = 0
    cached_text_tokens: int = 0
    cached_audio_tokens: int = 0
    output_text_tokens: int = 0
    output_audio_tokens: int = 0
    seconds: float = 0.0
    """For models that are billed by time."""
    of_response: bool = True
    """False: of the model that writes down what the caller says."""
    is_conversation: bool = False
    """The time is that of the whole conversation, not of a transcription beside it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A frame that must be sent back at once, such as a pong."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Complaint:
    """The service says that something is wrong. The connection goes on, unless it `ends` it."""

    code: str
    message: str = field(repr=False)
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Expires:
    """The service will end the session in so many seconds: a new one is begun before, in a pause of the talk."""

    within_s: float


Said: TypeAlias = m.AnyInput | Answer | Complaint | Expires | Usage
"""What can come of a frame."""


class Dialect(Protocol):
    """Translates for one connection. Made for it, dropped with it."""

    caller_format: AudioFormat
    """What the service takes; final once it is ready."""
    agent_format: AudioFormat
    """What it makes."""
    lifetime: float | None
    """Seconds after which the service ends every session."""

    def address(self) -> Exchange[SocketRequest]:
        """Where to connect; may ask the service over HTTP first."""
        ...

    def opened(self) -> Sequence[Frame]:
        """The socket is open: say these."""
        ...

    def receive(self, frame: Frame) -> Sequence[Said]:
        """A frame arrived. `EngineReady` among the events: the session is complete.

        Raises:
            WireError: it breaks the protocol.
        """
        ...

    def audio(self, data: bytes) -> Frame:
        """The caller's sound in `caller_format`."""
        ...

    def carry_out(self, command: m.AnyCommand) -> Sequence[Frame]:
        """The frames of a command; none for one that the service does not know."""
        ...

    def brief(self, briefing: Briefing) -> Sequence[Frame] | None:
        """The briefing has changed before the caller was heard. `None`: only a new connection will do."""
        ...

    def recall(self, lines: Sequence[tuple[str, str]]) -> Sequence[Frame]:
        """Tell a new session `(role, text)` of what was said on the one that was lost."""
        ...


@runtime_checkable
class HasHeir(Protocol):
    """A dialect whose session can be taken up by the next connection, or must be told its past when it is made."""

    def heir(self, briefing: Briefing, lines: Sequence[tuple[str, str]]) -> Dialect:
        """A translator for the connection after this one; `lines`: `(role, text)` of what was said."""
        ...


@runtime_checkable
class Amends(Protocol):
    """A dialect whose session can be changed while people talk."""

    def amend(self, briefing: Briefing) -> Sequence[Frame] | None:
        """Be briefed like this from the next reply on. `None`: this change needs a new connection."""
        ...


@runtime_checkable
class ExplainsClosing(Protocol):
    """A dialect whose service says with a close frame what another says with a status: a key that is refused."""

    def explained(self, error: PatterError) -> PatterError:
        """`error`, or what it really is. `error.status` is the close code, its text holds the reason."""
        ...


@runtime_checkable
class SpeechEngine(Protocol):
    """What a program hands to `agent(engine=...)`: configuration, shared by all calls.

    More that is used when it is there: `open_socket(request)` instead of `WebSocket.connect`, and
    `run_exchange(exchange)` instead of HTTP.
    """

    @property
    def kind(self) -> str:
        """Name of the service, such as `"openai_realtime"`."""
        ...

    @property
    def provider_key(self) -> str:
        """Key of the price table, and the vendor named in errors."""
        ...

    def manners(self, briefing: Briefing) -> EngineManners:
        """How the service behaves, briefed like this."""
        ...

    def dialect(self, briefing: Briefing) -> Dialect:
        """A translator for a new connection."""
        ...
