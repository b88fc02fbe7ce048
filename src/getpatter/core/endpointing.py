"""How long a pause means "finished": what the caller has said so far, and whether that was it.

Three witnesses are heard: the recogniser (interim, final, end of turn), the voice detector (speech began,
speech stopped) and the keypad. Any of them may be late, missing or wrong, so each has a limit and none is
needed: words are committed

* at once, when the recogniser says that the turn has ended;
* at once, when the voice has stopped and the recogniser has nothing left to confirm;
* after `final_wait`, when the voice has stopped and only unconfirmed words are there;
* after `quiet` without new words, whatever the detector says (`noisy_quiet` while it hears a voice);
* `key_gap` after the last key, or at `#`.

Nothing the caller said is dropped: words that come too late for a turn begin the next one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from getpatter.models import Transcript
from getpatter.types import Instant


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that the caller is given."""

    quiet: float = 1.5
    """After the last words, with no voice to be heard (CV-14)."""
    noisy_quiet: float = 4.0
    """After the last words, while the detector hears something: noise, or a recogniser without interims."""
    final_wait: float = 1.0
    """From the end of the voice to the recogniser's confirmation of words that it had guessed."""
    empty_wait: float = 1.5
    """From the end of the voice to the first word of it."""
    noise: float = 15.0
    """From the beginning of a sound to the first word of it: what lasts longer is the line, not a person."""
    key_gap: float = 1.5
    """Between two keys of one entry (CV-68)."""


class Verdict(Enum):
    """What may be done with the caller's words now."""

    NOTHING = "nothing"
    """There is nothing to decide about."""
    WAIT = "wait"
    COMPLETE = "complete"
    EMPTY = "empty"
    """A sound, and no words."""


@dataclass(slots=True)
class Endpointing:
    """The words of one caller turn, until they are taken."""

    patience: Patience = field(default_factory=Patience)
    final_at: Instant | None = None
    """When the last final transcript arrived."""
    stopped_at: Instant | None = None
    """When the voice was last heard, while it is silent; `None` while it speaks or before it ever did."""
    confidence: float = 0.0
    _aside: list[str] = field(default_factory=list)
    _finals: list[str] = field(default_factory=list)
    _interim: str = ""
    _keys: str = ""
    _guess: list[str] = field(default_factory=list)
    _speaks: bool = False
    _made_sound: bool = False
    _sound_at: Instant | None = None
    _turn_ended: bool = False
    _words_at: Instant | None = None
    _key_at: Instant | None = None

    @property
    def is_speaking(self) -> bool:
        """Whether the detector hears a voice now."""
        return self._speaks

    def speech_started(self, at: Instant) -> None:
        """The detector hears a voice."""
        self._speaks = True
        self._made_sound = True
        self._turn_ended = False
        self._sound_at = at
        self.stopped_at = None
        self._guess.clear()

    def interrupted(self, at: Instant) -> None:
        """The caller spoke over the agent, perhaps too briefly for the detector to say so."""
        self._made_sound = True
        self._sound_at = at
        if not self._speaks:
            self.stopped_at = at

    def speech_stopped(self, last_speech: Instant) -> None:
        """The detector has heard no voice since `last_speech`."""
        self._speaks = False
        self.stopped_at = last_speech

    def transcribed(self, said: Transcript, at: Instant) -> str:
        """The recogniser reports words, or the end of the turn. Returns those not answered already."""
        text = self._without_guess(said.text.strip())
        if said.is_final:
            self._guess.clear()
            if text:
                self._finals.append(text)
                self.confidence = said.confidence
            self._interim = ""
            self.final_at = at
        else:
            self._interim = text
        if text:
            self._words_at = at
            self._made_sound = True
        if said.speech_final:
            self._turn_ended = self.has_words
        return text

    def _without_guess(self, text: str) -> str:
        """`text` without the words that were answered before the recogniser confirmed them."""
        known = len(self._guess)
        words = text.split()
        if known and _bare(words[:known]) == self._guess:
            return " ".join(words[known:])
        return text

    def pressed(self, digit: str, at: Instant) -> None:
        """The caller pressed a key."""
        self._keys += digit
        self._key_at = at

    @property
    def text(self) -> str:
        """Everything said and not yet taken, keys last as `[DTMF: 12]`."""
        parts = [*self._finals]
        if self._interim:
            parts.append(self._interim)
        if self._keys:
            parts.append(f"[DTMF: {self._keys}]")
        return " ".join(parts)

    @property
    def has_keys(self) -> bool:
        """Whether keys are among what was not taken yet."""
        return bool(self._keys)

    @property
    def was_spoken(self) -> bool:
        """Whether there are words in it, and not only keys."""
        return bool(self._finals or self._interim)

    @property
    def has_words(self) -> bool:
        """Whether anything was said that can be answered: a letter, a digit or a key."""
        return any(c.isalnum() for c in self.text)

    def verdict(self, now: Instant) -> Verdict:
        """Whether the turn is complete by now."""
        if self._keys:
            return self._verdict_on_keys(now)
        if self.has_words:
            limit = self._limit()
            is_over = self._turn_ended or (limit is not None and now >= limit)
            return Verdict.COMPLETE if is_over else Verdict.WAIT
        if not self._made_sound:
            return Verdict.NOTHING
        limit = self.deadline
        return Verdict.EMPTY if limit is not None and now >= limit else Verdict.WAIT

    @property
    def deadline(self) -> Instant | None:
        """When `verdict` should be asked again if nothing happens before."""
        if self._keys and self._key_at is not None:
            return Instant(self._key_at + self.patience.key_gap)
        if self.has_words:
            return self._words_at if self._turn_ended else self._limit()
        if self._made_sound and self.stopped_at is not None:
            return Instant(self.stopped_at + self.patience.empty_wait)
        if self._made_sound and self._sound_at is not None:
            return Instant(self._sound_at + self.patience.noise)
        return None

    def _limit(self) -> Instant | None:
        words_at = self._words_at
        assert words_at is not None, "words have a time"
        if self._speaks:
            return Instant(words_at + self.patience.noisy_quiet)
        if self.stopped_at is None:
            return Instant(words_at + self.patience.quiet)
        if self._interim:
            return Instant(max(self.stopped_at, words_at) + self.patience.final_wait)
        return words_at

    def _verdict_on_keys(self, now: Instant) -> Verdict:
        assert self._key_at is not None, "keys have a time"
        if self._keys.endswith("#") or now >= self._key_at + self.patience.key_gap:
            return Verdict.COMPLETE
        return Verdict.WAIT

    @property
    def whole(self) -> str:
        """What `take` would return."""
        return " ".join([*self._aside, self.text]) if self._aside else self.text

    def take(self) -> str:
        """The turn's text; from here on a new turn is collected."""
        text = self.whole
        self._guess = _bare(self._interim.split())
        self._aside.clear()
        self._finals.clear()
        self._interim = self._keys = ""
        self._words_at = self._key_at = self.final_at = None
        self._turn_ended = False
        # A voice that goes on into the next turn has to prove itself again only if words come of it.
        self._made_sound = False
        self.stopped_at = None
        return text

    def set_aside_murmur(self, now: Instant, language: str, *, at_once: bool = False) -> None:
        """Keep a "mm-hm" said under the agent's words for later; it asks for no answer of its own.

        Only when it is over for longer than `quiet`: said right at the end, it may be the answer to a question.
        `at_once`: the agent has not come to its end, so it is no answer.
        """
        said_ago = now - self._words_at if self._words_at is not None else None
        is_old = said_ago is not None and said_ago > self.patience.quiet and not self._speaks
        if (is_old or at_once) and not self._keys and is_murmur(self.text, language):
            self._aside.append(self.take())


_MURMURS: Final[Mapping[str, frozenset[str]]] = {
    "en": frozenset(
        {"mm", "hm", "hmm", "mhm", "mmhm", "uh", "huh", "ah", "oh", "okay", "ok", "right", "yeah"}
    ),
    "it": frozenset({"mm", "mh", "ah", "eh", "si", "sì", "ok", "certo"}),
    "es": frozenset({"mm", "ajá", "aja", "ah", "sí", "si", "ok", "vale"}),
    "de": frozenset({"mm", "hm", "mhm", "aha", "ach", "ja", "ok", "okay", "genau"}),
    "fr": frozenset({"mm", "hm", "ah", "oui", "ok", "ouais"}),
    "pt": frozenset({"mm", "hum", "ah", "sim", "ok", "tá", "certo"}),
}


def _bare(words: list[str]) -> list[str]:
    """Words as they compare: a recogniser adds capitals and punctuation when it confirms."""
    return ["".join(c for c in word.casefold() if c.isalnum()) for word in words]


def is_murmur(text: str, language: str) -> bool:
    """Whether the words only say "I am listening"."""
    known = _MURMURS.get(language.split("-", maxsplit=1)[0].lower(), _MURMURS["en"])
    words = re.findall(r"\w+", text.casefold())
    return bool(words) and all(word in known for word in words)
