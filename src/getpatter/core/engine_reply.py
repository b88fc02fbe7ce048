"""The agent's turn in a call with a speech-to-speech engine: what it writes, what of it may sound, what was heard.

One turn is one `Reply`, made of as many responses of the engine as it takes. Sound of a response that is not one of
the present reply's is dropped, so what was cut never comes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from getpatter.core import messages as m
from getpatter.core.conversation import Conversation
from getpatter.core.minutes import Entry, Minutes
from getpatter.core.playout import Span
from getpatter.core.released import Held
from getpatter.core.reply import Anchors, Piece, Reply
from getpatter.types import Instant


@dataclass(slots=True, eq=False)
class Item:
    """One output item of the engine: a piece of the reply, and its sound on the way to the caller."""

    id: str
    piece: Piece
    held: Held
    has_all_sound: bool = False
    screened: int = 0


class EngineReply:
    """The reply that is being given, if there is one."""

    def __init__(
        self, talk: Conversation, minutes: Minutes, *, is_guarded: bool, began_at: Instant
    ) -> None:
        """Begin with none. `is_guarded`: what is said is judged before it is heard."""
        self.reply: Reply | None = None
        self.live: set[str] = set()
        """The responses of this reply that are being made."""
        self.told_at = began_at
        """When the engine last said anything of the present reply."""
        self.entry: Entry | None = None
        self.anchors = Anchors(None, None, None, began_at)
        self._talk = talk
        self._minutes = minutes
        self.is_guarded = is_guarded
        """Whether what is said is judged before it is heard."""
        self._unjudged: set[str] = set()
        """Responses that say what they were told, word for word (CV-37)."""
        self._items: dict[str, Item] = {}
        self._replies = 0
        self._pieces = 0

    def begin(
        self,
        now: Instant,
        answers: Anchors | None,
        *,
        is_unasked: bool = False,
        is_greeting: bool = False,
    ) -> None:
        """The agent owes words from now on; `answers`: to a turn of the caller."""
        self._replies += 1
        self.told_at = now
        self.live.clear()
        self._items.clear()
        turn = self._talk.turns
        self.reply = Reply(self._replies, turn, is_unasked=is_unasked, is_greeting=is_greeting)
        self.entry = self._minutes.agent(turn)
        self.anchors = answers or Anchors(None, None, None, now)
        self._talk.report_turn(self.reply, self.anchors, is_answer=answers is not None)

    def joined(self, response: str, now: Instant, *, is_given: bool) -> None:
        """The engine makes `response` for this reply; `is_given`: its words are ours."""
        assert self.reply is not None, "a response joins a reply"
        self.reply.is_written = False
        self.told_at = now
        self.live.add(response)
        if is_given:
            self._unjudged.add(response)

    # ----------------------------------------------------------------------------------- it is made

    def text(self, event: m.EngineText, now: Instant) -> None:
        """More words of it."""
        item = self._item(event)
        assert self.reply is not None, "a live response belongs to a reply"
        self.reply.text_came(now)
        text = event.text if event.is_whole else item.piece.text + event.text
        item.piece.text = text
        held = item.held
        held.is_whole = held.is_whole or event.is_whole
        held.letters = len(text) if held.is_whole else _whole_words(text)
        if not held.is_guarded:
            held.checked = held.letters
        elif held.letters > item.screened or held.is_whole:
            self._screen(item)

    def _screen(self, item: Item) -> None:
        held = item.held
        item.screened = held.letters
        self._talk.out.append(m.Screen(item.id, item.piece.text[: held.letters], held.is_whole))

    def audio(self, event: m.EngineAudio, now: Instant) -> None:
        """More sound of it."""
        item = self._item(event)
        assert self.reply is not None, "a live response belongs to a reply"
        self.reply.voice_came(now)
        item.held.add(event.audio, self._talk.playout.format.ms(len(event.audio)), now)

    def _item(self, event: m.EngineText | m.EngineAudio) -> Item:
        item = self._items.get(event.item)
        if item is None:
            assert self.reply is not None, "a live response belongs to a reply"
            self._pieces += 1
            piece = Piece(self._pieces, "")
            self.reply.pieces.append(piece)
            is_guarded = self.is_guarded and event.response not in self._unjudged
            item = self._items[event.item] = Item(event.item, piece, Held(is_guarded))
        return item

    def item_done(self, name: str) -> None:
        """Item `name` has all its sound."""
        if name in self._items:
            self._items[name].has_all_sound = True

    def response_over(self, response: str, now: Instant) -> None:
        """A live response has said all that it will."""
        self.live.discard(response)
        self.told_at = now
        for item in self._items.values():
            item.has_all_sound = item.held.is_whole = True
            item.held.letters = len(item.piece.text)
            if item.held.is_guarded and item.screened < item.held.letters:
                self._screen(item)
            elif not item.held.is_guarded:
                item.held.checked = item.held.letters

    def broke_off(self) -> None:
        """The connection is gone: nothing more comes of what was being made."""
        self.live.clear()
        for item in self._items.values():
            item.has_all_sound = item.held.is_whole = True

    # ---------------------------------------------------------------------------------- it is heard

    def let_through(self, now: Instant) -> None:
        """Hand on the sound that may be heard."""
        if self.reply is None:
            return
        playout = self._talk.playout
        for item in list(self._items.values()):
            piece = item.piece
            for audio in item.held.release(now):
                if not piece.has_begun:
                    piece.has_begun = True
                    playout.begin(piece.number)
                playout.add(audio)
            if item.has_all_sound and item.held.is_empty and not piece.is_done:
                piece.is_done = True
                if piece.has_begun:
                    playout.finish()
                else:
                    piece.text = ""

    @property
    def held_due(self) -> Instant | None:
        """When more of the sound may be let through without another word."""
        dues = (item.held.deadline for item in self._items.values())
        return min((due for due in dues if due), default=None)

    @property
    def is_let_through(self) -> bool:
        """Whether no sound waits to be judged."""
        return all(item.held.is_empty for item in self._items.values())

    def unheard(self, now: Instant) -> Iterator[m.CutItem]:
        """What of its items the engine must forget: the caller will not hear it."""
        playout = self._talk.playout
        spans = {span.piece: span for span in playout.spans}
        for item in self._items.values():
            heard = _heard_of(spans.get(item.piece.number), playout.heard_ms(now))
            if item.held.received_ms > 0 and heard < item.held.received_ms - 1:
                yield m.CutItem(item.id, int(heard))

    def close(
        self, text: str, now: Instant, *, was_cut: bool, bargein_ms: float | None = None
    ) -> None:
        """The turn is over: heard, or cut. `text` is what counts as said."""
        reply, entry, talk = self.reply, self.entry, self._talk
        assert reply is not None, "what is closed was begun"
        assert entry is not None, "a reply is entered when it begins"
        self.reply = self.entry = None
        self.live.clear()
        self._items.clear()
        talk.report_agent_over(reply, now, was_cut=was_cut)
        entry.text, entry.is_settled, entry.is_interrupted = text, True, was_cut
        entry.is_void = not text
        entry.record = reply.record(
            self.anchors,
            talk.turns,
            text,
            is_interrupted=was_cut,
            is_engine=True,
            bargein_ms=bargein_ms,
        )
        talk.turns += 1
        talk.playout.forget_before(talk.playout.heard_ms(now))

    # --------------------------------------------------------------------------------- it is judged

    def approved(self, name: str, letters: int) -> None:
        """The first `letters` of item `name` may be heard."""
        held = self._items[name].held
        held.checked = max(held.checked, letters)

    def has_item(self, name: str) -> bool:
        """Whether item `name` belongs to the present reply."""
        return self.reply is not None and name in self._items

    def drop_unheard(self, name: str, now: Instant) -> list[m.CutItem]:
        """Item `name` must not be heard on: keep what was heard of the reply, and nothing else."""
        item, reply, playout = self._items[name], self.reply, self._talk.playout
        assert reply is not None, "an item belongs to a reply"
        item.piece.text = item.piece.text[: item.held.checked]
        ear = playout.heard_ms(now)
        for piece in reply.pieces:
            alone = Reply(0, 0, pieces=[Piece(piece.number, piece.text)])
            piece.text, piece.is_done = alone.heard(playout, now), True
        forgotten = list(self.unheard(now))
        playout.clear(now)
        for span in playout.spans:
            span.ends_ms, span.is_complete = min(span.ends_ms, ear), True
        reply.pieces = [piece for piece in reply.pieces if piece.text]
        return forgotten

    def forget_items(self) -> None:
        """Nothing that the engine still makes belongs to the reply."""
        self.live.clear()
        self._items.clear()


def _whole_words(text: str) -> int:
    """Letters of `text` up to the end of the last word that is certainly complete."""
    end = len(text)
    while end and not text[end - 1].isspace() and text[end - 1] not in ".,;:!?…。！？、":
        end -= 1
    return end


def _heard_of(span: Span | None, ear: float) -> float:
    """Milliseconds of a piece that were heard."""
    if span is None:
        return 0.0
    return min(max(0.0, ear - span.starts_ms), span.ends_ms - span.starts_ms)
