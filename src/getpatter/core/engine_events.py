"""What a speech-to-speech engine has to say to a session, and its tools: part of the vocabulary of `messages.py`."""

from __future__ import annotations

from typing import Literal

from getpatter.core.incoming import Input


class EngineReady(Input, frozen=True, tag=True):
    """The engine's session is complete: it may be spoken to."""

    is_again: bool = False
    """A connection was lost before; the conversation so far was told to the new one."""


class EngineLost(Input, frozen=True, tag=True):
    """The connection is gone and is being opened again."""


class EngineGone(Input, frozen=True, tag=True):
    """The engine could not be brought back."""


class EngineHeardVoice(Input, frozen=True, tag=True):
    """The engine hears the caller begin to speak, since `ago_ms` before now."""

    item: str
    ago_ms: float = 0.0


class EngineHeardPause(Input, frozen=True, tag=True):
    """The engine hears the caller stop, since `ago_ms` before now."""

    item: str
    ago_ms: float = 0.0


class EngineTookTurn(Input, frozen=True, tag=True):
    """What the caller said is one whole turn; its words may follow much later."""

    item: str


class EngineTranscribed(Input, frozen=True, tag=True):
    """The words of the caller's turn `item`; not final: more of them."""

    item: str
    text: str
    is_final: bool = True


class EngineReplyBegan(Input, frozen=True, tag=True):
    """The engine begins a response: the one that `AskReply` number `request` wanted, or (0) of its own accord."""

    response: str
    request: int = 0


class EngineText(Input, frozen=True, tag=True):
    """More words of output item `item`; `is_whole`: all of them."""

    response: str
    item: str
    text: str
    is_whole: bool = False


class EngineAudio(Input, frozen=True, tag=True):
    """More sound of output item `item`, in the carrier's format."""

    response: str
    item: str
    audio: bytes


class EngineItemDone(Input, frozen=True, tag=True):
    """Output item `item` has all its sound."""

    response: str
    item: str


class EngineCalledTool(Input, frozen=True, tag=True):
    """The model wants a tool run; `arguments` is JSON as it wrote it."""

    response: str
    call: str
    name: str
    arguments: str


class EngineReplyEnded(Input, frozen=True, tag=True):
    """The response is complete, or will not be."""

    response: str
    status: Literal["completed", "cancelled", "failed", "incomplete"] = "completed"


class EngineRefused(Input, frozen=True, tag=True):
    """The engine will not do what `AskReply` number `request` asked."""

    request: int


class EngineInterrupted(Input, frozen=True, tag=True):
    """The engine has stopped its reply for the caller: sound that was not played is void."""


class EngineCorrected(Input, frozen=True, tag=True):
    """The engine says how much of an interrupted reply was heard."""

    text: str


class ToolDone(Input, frozen=True, tag=True):
    """A tool that was run has answered; `output` is text for the model."""

    call: str
    output: str


class EngineGuarded(Input, frozen=True, tag=True):
    """From the next output item on, what is said is judged before it is heard, or it is not."""

    is_guarded: bool


class Screened(Input, frozen=True, tag=True):
    """The first `letters` of output item `item` were judged; `replacement`: say this instead of the rest."""

    item: str
    letters: int
    replacement: str | None = None
