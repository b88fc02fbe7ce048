"""Gemini Live for one connection: our commands to its messages, its messages to ours.

Protocol: https://ai.google.dev/api/live and `docs/providers/gemini-live.md`. The service names nothing: no response,
no turn of the caller's. So what it says from one end of generation to the next is a response here, and a response
that was not asked for answers a turn of the caller's. A call of functions ends a response: results begin another.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from getpatter.core import messages as m
from getpatter.engines._google_events import (
    VENDOR,
    Content,
    ToolCall,
    Transcription,
    Turn,
    UsageMetadata,
    read,
    seconds,
)
from getpatter.engines.base import Briefing, Expires, Frame, Said, ToolSchema, Usage
from getpatter.errors import AuthenticationError, PatterError, WireError
from getpatter.net.messages import Exchange
from getpatter.net.sockets import SocketRequest
from getpatter.types import PCM16_16K, PCM16_24K, AudioFormat

_BAD_KEY: Final = 1007
"""The close code of a key that is refused, as of everything else in a setup that is wrong."""
LIFETIME: Final = 9.5 * 60.0
"""A connection lasts about 10 minutes; the service says so before, and we change before."""
PATH: Final = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
VERBATIM: Final = (
    "[Instruction, not said by the caller] Say the following words to the caller, exactly as they are written, in the "
    "language they are written in, and nothing else. Do not answer them, add to them or leave anything out. "
    "The words:\n\n"
)
INSTRUCTION: Final = "[Instruction, not said by the caller] "
ANSWER: Final = INSTRUCTION + "Answer the caller now."
_SILENCE: Final = "server_vad"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a session is made of, whoever it comes from."""

    url: str
    key: str
    model: str
    voice: str
    language: str
    temperature: float
    briefing: Briefing

    def setup(self, handle: str) -> dict[str, object]:
        """The session (`BidiGenerateContentSetup`)."""
        briefing = self.briefing
        speech = {
            "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": self.voice}},
            "languageCode": self.language,
        }
        hearing: dict[str, object] = {
            "activityHandling": (
                "START_OF_ACTIVITY_INTERRUPTS" if briefing.interrupts else "NO_INTERRUPTION"
            )
        }
        detection = briefing.turn_detection
        if detection is not None and detection.type == _SILENCE:
            hearing["automaticActivityDetection"] = {
                "silenceDurationMs": detection.silence_duration_ms
            }
        name = self.model if "/" in self.model else f"models/{self.model}"
        setup: dict[str, object] = {
            "model": name,
            "generationConfig": {
                "responseModalities": ["AUDIO"],
                "temperature": self.temperature,
                "speechConfig": speech,
            },
            "realtimeInputConfig": hearing,
            "inputAudioTranscription": {},
            "outputAudioTranscription": {},
            "sessionResumption": {"handle": handle} if handle else {},
            "contextWindowCompression": {"slidingWindow": {}},
        }
        if briefing.instructions:
            setup["systemInstruction"] = {"parts": [{"text": briefing.instructions}]}
        if briefing.tools:
            setup["tools"] = [{"functionDeclarations": [_function(t) for t in briefing.tools]}]
        if briefing.is_resumed and not handle:
            setup["historyConfig"] = {"initialHistoryInClientContent": True}
        return setup


class LiveDialect:
    """One connection."""

    lifetime: float | None = LIFETIME
    caller_format: AudioFormat = PCM16_16K
    agent_format: AudioFormat = PCM16_24K

    def __init__(
        self, settings_for: Callable[[Briefing], Settings], briefing: Briefing, handle: str = ""
    ) -> None:
        """Translate for a session briefed like this; `handle`: of the one it takes up."""
        self._settings_for = settings_for
        self._settings = settings_for(briefing)
        self._resumed = handle
        self._handle = ""
        self._is_ready = False
        # The response that is being made.
        self._responses = 0
        self._response = ""
        self._has_sound = False
        self._early_text = ""
        """Words of the model's that came before their sound."""
        self._is_in_turn = False
        """From the beginning of a response until the service takes it for played."""
        self._stopped = ""
        self._is_void = False
        """What comes belongs to a response that was stopped."""
        self._cuts_itself = False
        """Our own words interrupt the model; that is nobody's voice."""
        self._has_cut_itself = False
        """They have, and nothing was begun since."""
        # What was asked of it.
        self._asked = 0
        self._is_due = False
        self._goes_on = False
        self._calls: set[str] = set()
        self._nameless: set[str] = set()
        self._cancelled: set[str] = set()
        # The caller.
        self._turns = 1
        self._heard = ""
        self._is_written = False
        self._is_taken = False

    # --------------------------------------------------------------------------------------- opening

    def address(self) -> Exchange[SocketRequest]:
        """The socket of the service; the model is named in the session."""
        settings = self._settings
        yield from ()  # there is nothing to ask
        return SocketRequest(
            url=settings.url.replace("http", "ws", 1) + PATH,
            headers={"x-goog-api-key": settings.key},
            vendor=VENDOR,
        )

    def opened(self) -> Sequence[Frame]:
        """The whole session, before anything else."""
        return [msgspec.json.encode({"setup": self._settings.setup(self._resumed)})]

    def brief(self, briefing: Briefing) -> Sequence[Frame] | None:
        """A session cannot be changed once it has begun."""
        return [] if self._settings_for(briefing) == self._settings else None

    def recall(self, lines: Sequence[tuple[str, str]]) -> Sequence[Frame]:
        """What was said before, unless the session is the one it was said in."""
        if self._resumed or not self._settings.briefing.is_resumed:
            return []
        names = {"assistant": "model"}
        turns: list[dict[str, object]] = [
            {"role": names.get(role, "user"), "parts": [{"text": text}]} for role, text in lines
        ]
        return [_content(*turns, is_complete=True)]

    def heir(self, briefing: Briefing, lines: Sequence[tuple[str, str]]) -> LiveDialect:
        """Take this session up, if the service gave it a name and it can be: a name is tried once."""
        del lines  # told by `recall` where they are not known
        handle = self._handle if self._is_ready else ""
        return LiveDialect(self._settings_for, briefing, handle)

    # ----------------------------------------------------------------------------------- our commands

    def explained(self, error: PatterError) -> PatterError:
        """A key that is refused is told on the open socket."""
        if error.status == _BAD_KEY and "api key" in str(error).lower():
            return AuthenticationError(
                str(error), vendor=VENDOR, retryable=False, status=error.status
            )
        return error

    def audio(self, data: bytes) -> Frame:
        """The caller's sound."""
        text = binascii.b2a_base64(data, newline=False)
        return (
            b'{"realtimeInput":{"audio":{"mimeType":"audio/pcm;rate=16000","data":"'
            + text
            + b'"}}}'
        )

    def carry_out(self, command: m.AnyCommand) -> Sequence[Frame]:
        """The client messages of a command."""
        match command:
            case m.AskReply():
                return self._ask(command)
            case m.StopReply(response=response):
                self._stopped = response
                return []
            case m.TellEngine(text=text):
                return [self._add(text)]
            case m.ReturnTool():
                return self._return(command)
            case _:
                return []  # it keeps its own account of what was heard

    def _ask(self, ask: m.AskReply) -> Sequence[Frame]:
        self._asked, self._is_due = ask.request, True
        if self._goes_on and not ask.words:
            self._goes_on = False
            return []  # results make it speak
        text = INSTRUCTION + ask.hint if ask.hint else ANSWER
        if ask.words:
            text = VERBATIM + ask.words
        # Words without an answer: one may be on its way.
        self._cuts_itself = self._is_in_turn or bool(self._heard and not self._is_taken)
        return [_content(_user(text), is_complete=True)]

    def _add(self, text: str) -> Frame:
        """To the conversation; the service waits for more before it answers."""
        self._cuts_itself = self._is_in_turn
        return _content(_user(text), is_complete=False)

    def _return(self, result: m.ReturnTool) -> Sequence[Frame]:
        if result.call in self._cancelled:
            self._cancelled.discard(result.call)
            return []
        if result.call not in self._calls:
            # It was called on a connection that was lost; an answer without its call means nothing.
            text = f"{INSTRUCTION}What {result.name} has found: {result.output}"
            return [self._add(text)]
        self._calls.discard(result.call)
        self._is_due = self._goes_on = True
        answer: dict[str, object] = {"name": result.name, "response": _object(result.output)}
        if result.call not in self._nameless:
            answer["id"] = result.call
        return [msgspec.json.encode({"toolResponse": {"functionResponses": [answer]}})]

    # ----------------------------------------------------------------------------------- their events

    def receive(self, frame: Frame) -> Sequence[Said]:
        """What a server message means."""
        message = read(frame)
        said: list[Said] = []
        if message.setup_complete is not None:
            self._is_ready = True
            said.append(m.EngineReady())
        if message.server_content is not None:
            said += self._content(message.server_content)
        if message.tool_call is not None:
            said += self._tools(message.tool_call)
        if message.tool_call_cancellation is not None:
            cancelled = set(message.tool_call_cancellation.ids or ())
            if not self._has_cut_itself:
                self._cancelled |= cancelled & self._calls
            # What our own words have cancelled is told as a text, as it is still wanted.
            self._calls -= cancelled
        if message.usage_metadata is not None:
            said.append(_usage(message.usage_metadata, self._settings.model))
        if message.session_resumption_update is not None:
            self._handle = message.session_resumption_update.new_handle or self._handle
        if message.go_away is not None:
            left = seconds(message.go_away.time_left)
            said.append(Expires(0.0 if left is None else left))
        return said

    def _content(self, content: Content) -> list[Said]:
        said: list[Said] = []
        if self._stopped and self._stopped == self._response:
            said += self._ended("cancelled")
            self._is_void = True
        self._stopped = ""
        if content.interrupted:
            said += self._interrupted()
        if content.input_transcription is not None:
            said += self._heard_words(content.input_transcription)
        if not content.interrupted and not self._is_void:
            if content.output_transcription is not None:
                said += self._said_words(content.output_transcription.text or "")
            if content.model_turn is not None:
                said += self._sound(content.model_turn)
        return said + self._completed(content)

    def _completed(self, content: Content) -> list[Said]:
        if not content.generation_complete and not content.turn_complete:
            return []
        said: list[Said] = []
        if self._is_due and content.generation_complete and not self._is_void:
            said += self._begun()  # it has nothing to say
        said += self._ended("completed")
        self._is_void = False
        if content.turn_complete or not self._settings.briefing.interrupts:
            # Words may be late. Where nothing interrupts, what follows may be of the next turn.
            said += self._words_are_complete()
        if content.turn_complete:
            self._is_in_turn = self._cuts_itself = False
            self._early_text = ""
        return said

    def _interrupted(self) -> list[Said]:
        self._has_cut_itself = self._cuts_itself
        said: list[Said] = [] if self._cuts_itself else [m.EngineInterrupted()]
        if not self._cuts_itself:
            # What it was asked for and has not begun is void too.
            self._asked, self._is_due = 0, False
        elif self._heard and not self._is_taken:
            said += self._took_turn()
        said += self._ended("cancelled") + self._words_are_complete()
        self._is_void = self._cuts_itself = self._is_in_turn = False
        self._early_text = ""
        return said

    def _said_words(self, text: str) -> list[Said]:
        if not self._response:
            self._early_text += text
            return []
        return [m.EngineText(self._response, self._item, text)] if text else []

    def _sound(self, turn: Turn) -> list[Said]:
        said: list[Said] = []
        for part in turn.parts or ():
            blob = part.inline_data
            if blob is None or part.thought or not blob.mime_type.startswith("audio/pcm"):
                continue
            try:
                sound = binascii.a2b_base64(blob.data)
            except (binascii.Error, ValueError) as error:
                raise WireError(
                    f"{VENDOR} sent sound that is no base64: {error}", vendor=VENDOR
                ) from error
            said += self._begun()
            if self._early_text:
                said.append(m.EngineText(self._response, self._item, self._early_text))
                self._early_text = ""
            self._has_sound = True
            said.append(m.EngineAudio(self._response, self._item, sound))
        return said

    def _tools(self, called: ToolCall) -> list[Said]:
        said = self._begun()
        if self._heard:
            said += self._words_are_complete()  # a tool may ask whether the caller has spoken
        for number, call in enumerate(called.function_calls or (), 1):
            name = call.id or f"{self._response}.call-{number}"
            if not call.id:
                self._nameless.add(name)
            self._calls.add(name)
            arguments = bytes(call.args).decode()
            said.append(m.EngineCalledTool(self._response, name, call.name, arguments))
        return said + self._ended("completed")

    # ------------------------------------------------------------------------------- turns, responses

    @property
    def _item(self) -> str:
        return f"{self._response}.0"

    @property
    def _turn(self) -> str:
        return f"caller-{self._turns}"

    def _begun(self) -> list[Said]:
        if self._response:
            return []
        said: list[Said] = []
        if not self._is_due:
            said += self._took_turn()
            self._asked = 0
        self._responses += 1
        self._response = f"live-{self._responses}"
        self._has_sound = False
        self._is_in_turn = True
        said.append(m.EngineReplyBegan(self._response, self._asked))
        self._asked, self._is_due, self._goes_on = 0, False, False
        self._cuts_itself = self._has_cut_itself = False
        return said

    def _ended(self, status: Literal["completed", "cancelled"]) -> list[Said]:
        if not self._response:
            return []
        said: list[Said] = []
        if self._has_sound:
            said.append(m.EngineItemDone(self._response, self._item))
        said.append(m.EngineReplyEnded(self._response, status))
        self._response = ""
        return said

    def _took_turn(self) -> list[Said]:
        said = self._words_are_complete()
        said.append(m.EngineTookTurn(self._turn))
        self._is_taken = True
        if self._is_written:
            return said + self._words_are_complete()
        if self._heard:
            said.append(m.EngineTranscribed(self._turn, self._heard, is_final=False))
        return said

    def _heard_words(self, words: Transcription) -> list[Said]:
        """More of the turn that is being answered, or of the next. Not in any order with the answer."""
        text = words.text or ""
        self._heard += text
        self._is_written = bool(words.finished)
        if self._is_taken and words.finished:
            return self._words_are_complete()
        if not text:
            return []
        told = text if self._is_taken else self._heard
        return [m.EngineTranscribed(self._turn, told, is_final=False)]

    def _words_are_complete(self) -> list[Said]:
        """Of the turn that is being answered, if one is."""
        if not self._is_taken:
            return []
        said: list[Said] = [m.EngineTranscribed(self._turn, self._heard.strip())]
        self._turns += 1
        self._heard, self._is_written, self._is_taken = "", False, False
        return said


def _function(tool: ToolSchema) -> dict[str, object]:
    return {
        "name": tool.name,
        "description": tool.description,
        "parametersJsonSchema": tool.parameters,
        # It waits for the result. Models differ in what they do unless told.
        "behavior": "BLOCKING",
    }


def _user(text: str) -> dict[str, object]:
    return {"role": "user", "parts": [{"text": text}]}


def _content(*turns: dict[str, object], is_complete: bool) -> Frame:
    content: dict[str, object] = {"turnComplete": is_complete}
    if turns:
        content["turns"] = list(turns)
    return msgspec.json.encode({"clientContent": content})


def _object(output: str) -> object:
    """A tool's answer as the object that the service wants; ours is one already, or a text."""
    try:
        found = msgspec.json.decode(output)
    except (msgspec.MsgspecError, RecursionError):
        return {"output": output}
    return found if isinstance(found, dict) else {"output": found}


def _usage(used: UsageMetadata, model: str) -> Usage:
    given = {each.modality: each.token_count or 0 for each in used.prompt_tokens_details or ()}
    cached = {each.modality: each.token_count or 0 for each in used.cache_tokens_details or ()}
    made = {each.modality: each.token_count or 0 for each in used.response_tokens_details or ()}
    audio_in, cached_audio, audio_out = (each.get("AUDIO", 0) for each in (given, cached, made))
    text_in = (sum(given.values()) or used.prompt_token_count or 0) - audio_in
    text_out = (sum(made.values()) or used.response_token_count or 0) - audio_out
    cached_text = sum(cached.values()) - cached_audio
    return Usage(
        VENDOR,
        model,
        input_text_tokens=max(0, text_in - cached_text) + (used.tool_use_prompt_token_count or 0),
        input_audio_tokens=max(0, audio_in - cached_audio),
        cached_text_tokens=cached_text,
        cached_audio_tokens=cached_audio,
        output_text_tokens=text_out + (used.thoughts_token_count or 0),
        output_audio_tokens=audio_out,
    )
