"""One reply of the agent: its text as it is written, its pieces as they are spoken, and what was heard of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from getpatter.core import messages as m
from getpatter.core.history import Heard, heard_text
from getpatter.core.playout import Playout
from getpatter.types import Instant

MS_PER_LETTER: Final = 60.0
"""Shortest length taken for text whose audio is still on its way (1,000 letters a minute: fast speech)."""


@dataclass(slots=True)
class Piece:
    """A part of a reply that is spoken in one go, usually a sentence."""

    number: int
    text: str
    """As asked for; replaced by what is really said once the filters have run."""
    is_done: bool = False
    has_begun: bool = False


@dataclass(frozen=True, slots=True)
class Anchors:
    """Instants of the caller's side of the turn that is being answered."""

    speech_began: Instant | None
    speech_ended: Instant | None
    final_at: Instant | None
    committed_at: Instant


@dataclass(frozen=True, slots=True)
class Interruption:
    """What a cut reply still had to say, in case it was cut by mistake."""

    unsaid: str
    user_text: str
    was_unwritten: bool


@dataclass(slots=True)
class Reply:
    """A reply from the moment it is owed until it was heard or cut."""

    number: int
    turn_index: int
    user_text: str = ""
    is_unasked: bool = False
    """Said by the operator's words (greeting, reminder, apology), not by a model."""
    is_greeting: bool = False
    is_written: bool = False
    pieces: list[Piece] = field(default_factory=list)
    first_text_at: Instant | None = None
    last_text_at: Instant | None = None
    first_voice_at: Instant | None = None
    last_voice_at: Instant | None = None
    first_audio_at: Instant | None = None
    characters: int = 0

    def piece(self, number: int) -> Piece | None:
        """The piece with that number, if it is one of this reply's."""
        for piece in self.pieces:
            if piece.number == number:
                return piece
        return None

    @property
    def is_voiced(self) -> bool:
        """Whether all that was written so far has become audio."""
        return all(piece.is_done for piece in self.pieces)

    @property
    def is_spoken(self) -> bool:
        """Whether all text is written and all of it has become audio."""
        return self.is_written and self.is_voiced

    @property
    def has_audio(self) -> bool:
        """Whether anything of it has reached the carrier."""
        return self.first_audio_at is not None

    def heard(self, playout: Playout, now: Instant) -> str:
        """The words the caller has heard by now. Ask before `Playout.clear`."""
        ear = playout.heard_ms(now)
        spans = {span.piece: span for span in playout.spans}
        parts: list[Heard] = []
        for piece in self.pieces:
            span = spans.get(piece.number)
            if span is None:
                # A piece that was filtered away leaves no gap; one not yet spoken ends what was heard.
                parts.append(
                    Heard("" if piece.is_done else piece.text, 1.0 if piece.is_done else 0.0)
                )
                continue
            length = span.ends_ms - span.starts_ms
            if not span.is_complete:
                length = max(length, MS_PER_LETTER * len(piece.text))
            share = (ear - span.starts_ms) / length if length > 0 else 0.0
            parts.append(Heard(piece.text, min(1.0, max(0.0, share))))
        return heard_text(parts)

    @property
    def text(self) -> str:
        """All that it says, heard or not."""
        return " ".join(piece.text for piece in self.pieces if piece.text)

    def text_came(self, now: Instant) -> None:
        """More of it was written."""
        self.first_text_at = self.first_text_at if self.first_text_at is not None else now
        self.last_text_at = now

    def voice_came(self, now: Instant) -> None:
        """More of it became audio."""
        self.first_voice_at = self.first_voice_at if self.first_voice_at is not None else now
        self.last_voice_at = now

    def rest(self, heard: str) -> str:
        """What of it was not heard."""
        text = self.text
        return text[len(heard) :].lstrip() if text.startswith(heard) else text

    def record(
        self,
        anchors: Anchors,
        index: int,
        text: str,
        *,
        is_interrupted: bool,
        is_engine: bool = False,
        bargein_ms: float | None = None,
    ) -> m.TurnRecord:
        """The turn that ends with it; `text` is what counts as said."""
        return m.TurnRecord(
            index=index,
            user_text=self.user_text,
            agent_text=text,
            is_interrupted=is_interrupted,
            is_greeting=self.is_greeting,
            is_engine=is_engine,
            speech_began=anchors.speech_began,
            speech_ended=anchors.speech_ended,
            final_at=anchors.final_at,
            committed_at=anchors.committed_at,
            first_text_at=self.first_text_at,
            last_text_at=self.last_text_at,
            first_voice_at=self.first_voice_at,
            last_voice_at=self.last_voice_at,
            first_audio_at=self.first_audio_at,
            bargein_ms=bargein_ms,
            characters=self.characters,
        )
