"""The frames of OpenAI's Realtime API that matter on a phone, as they come: GA names and those before.

Protocol: https://platform.openai.com/docs/api-reference/realtime-server-events
"""

from __future__ import annotations

from typing import Final

import msgspec

from getpatter.errors import WireError

VENDOR: Final = "openai"


class Details(msgspec.Struct, frozen=True):
    """Tokens by kind."""

    text_tokens: int | None = 0
    audio_tokens: int | None = 0
    cached_tokens: int | None = 0
    cached_tokens_details: Details | None = None


class Tokens(msgspec.Struct, frozen=True):
    """What a response or a transcription used."""

    type: str = "tokens"
    seconds: float | None = 0.0
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    input_token_details: Details | None = None
    output_token_details: Details | None = None


class Failure(msgspec.Struct, frozen=True):
    """Why something went wrong."""

    type: str | None = None
    code: str | None = None
    message: str | None = None
    event_id: str | None = None


class StatusDetails(msgspec.Struct, frozen=True):
    """Why a response ended as it did."""

    type: str | None = None
    reason: str | None = None
    error: Failure | None = None


class Response(msgspec.Struct, frozen=True):
    """One response of the model."""

    id: str = ""
    status: str | None = None
    status_details: StatusDetails | None = None
    metadata: dict[str, str] | None = None
    usage: Tokens | None = None


class Item(msgspec.Struct, frozen=True):
    """One thing in the conversation."""

    id: str | None = None
    type: str = ""
    role: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class Event(msgspec.Struct, frozen=True):
    """Any server event: the fields that one of them has."""

    type: str
    item_id: str = ""
    response_id: str = ""
    audio_start_ms: float = 0.0
    audio_end_ms: float = 0.0
    delta: str = ""
    transcript: str | None = None
    item: Item | None = None
    response: Response | None = None
    error: Failure | None = None
    usage: Tokens | None = None


_decode: Final = msgspec.json.Decoder(Event).decode
_FORMER: Final = {
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
}


def read(frame: str | bytes) -> Event:
    """One server event, under its present name.

    Raises:
        WireError: it is none.
    """
    try:
        event = _decode(frame)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise WireError(
            f"{VENDOR} sent an event of no known form: {error}", vendor=VENDOR
        ) from error
    present = _FORMER.get(event.type)
    return event if present is None else msgspec.structs.replace(event, type=present)
