"""The frames of Gemini Live that matter on a phone, as they come.

Protocol: https://ai.google.dev/api/live#BidiGenerateContentServerMessage
"""

from __future__ import annotations

from typing import Final

import msgspec

from getpatter.errors import WireError

VENDOR: Final = "google"


class Blob(msgspec.Struct, frozen=True, rename="camel"):
    """Sound or pictures."""

    data: str = ""
    mime_type: str = ""


class Part(msgspec.Struct, frozen=True, rename="camel"):
    """A piece of what the model says; `thought`: it says it to itself."""

    inline_data: Blob | None = None
    thought: bool | None = None


class Turn(msgspec.Struct, frozen=True):
    """What the model says."""

    parts: list[Part] | None = None


class Transcription(msgspec.Struct, frozen=True):
    """More words, of the caller or the model."""

    text: str | None = None
    finished: bool | None = None


class Content(msgspec.Struct, frozen=True, rename="camel"):
    """Some of a turn of the model's, and news of it."""

    model_turn: Turn | None = None
    input_transcription: Transcription | None = None
    output_transcription: Transcription | None = None
    interrupted: bool | None = None
    generation_complete: bool | None = None
    turn_complete: bool | None = None


class FunctionCall(msgspec.Struct, frozen=True):
    """A function that the model wants run."""

    id: str | None = None
    name: str = ""
    args: msgspec.Raw = msgspec.Raw(b"{}")


class ToolCall(msgspec.Struct, frozen=True, rename="camel"):
    """Functions that the model wants run."""

    function_calls: list[FunctionCall] | None = None


class Cancellation(msgspec.Struct, frozen=True):
    """Functions whose results are no longer wanted."""

    ids: list[str] | None = None


class GoAway(msgspec.Struct, frozen=True, rename="camel"):
    """The connection will be ended."""

    time_left: str | None = None


class Resumption(msgspec.Struct, frozen=True, rename="camel"):
    """By what name another connection can take the session up."""

    new_handle: str | None = None
    resumable: bool | None = None


class Tokens(msgspec.Struct, frozen=True, rename="camel"):
    """Tokens of one modality."""

    modality: str = ""
    token_count: int | None = 0


class UsageMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """What a turn used."""

    prompt_token_count: int | None = 0
    response_token_count: int | None = 0
    tool_use_prompt_token_count: int | None = 0
    thoughts_token_count: int | None = 0
    prompt_tokens_details: list[Tokens] | None = None
    cache_tokens_details: list[Tokens] | None = None
    response_tokens_details: list[Tokens] | None = None


class Message(msgspec.Struct, frozen=True, rename="camel"):
    """Any server message: of its kinds, one; what was used may come with each."""

    setup_complete: dict[str, object] | None = None
    server_content: Content | None = None
    tool_call: ToolCall | None = None
    tool_call_cancellation: Cancellation | None = None
    go_away: GoAway | None = None
    session_resumption_update: Resumption | None = None
    usage_metadata: UsageMetadata | None = None


_decode: Final = msgspec.json.Decoder(Message).decode


def read(frame: str | bytes) -> Message:
    """One server message. They come as binary frames as well as text.

    Raises:
        WireError: it is none.
    """
    try:
        return _decode(frame)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise WireError(
            f"{VENDOR} sent a message of no known form: {error}", vendor=VENDOR
        ) from error


def seconds(duration: str | None) -> float | None:
    """`"9.5s"` as a number; `None` for what is no duration."""
    try:
        found = float((duration or "").removesuffix("s"))
    except ValueError:
        return None
    return found if 0 <= found < float("inf") else None
