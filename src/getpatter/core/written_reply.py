"""The agent's turn in a pipeline: text as a model writes it, pieces as a voice speaks them, and what it came to."""

from __future__ import annotations

from getpatter.core import messages as m
from getpatter.core.conversation import Conversation
from getpatter.core.reply import Anchors, Piece, Reply
from getpatter.core.sentences import SentenceChunker
from getpatter.types import Instant


class WrittenReply:
    """The reply that is being given, if there is one."""

    def __init__(self, talk: Conversation, *, began_at: Instant) -> None:
        """Begin with none."""
        self.reply: Reply | None = None
        self._talk = talk
        self._chunker = SentenceChunker()
        self._anchors = Anchors(None, None, None, began_at)
        self._replies = 0
        self._pieces = 0

    def begin(
        self,
        now: Instant,
        *,
        user_text: str = "",
        unasked: bool = False,
        greeting: bool = False,
        answers: Anchors | None = None,
    ) -> Reply:
        """The agent owes words from now on; `answers`: to what the caller said then."""
        talk = self._talk
        self._replies += 1
        self._chunker = SentenceChunker(
            language=talk.manners.language, aggressive_first_flush=talk.manners.first_clause_early
        )
        self.reply = Reply(
            self._replies, talk.turns, user_text, is_unasked=unasked, is_greeting=greeting
        )
        self._anchors = answers or Anchors(None, None, None, now)
        talk.report_turn(self.reply, self._anchors, is_answer=answers is not None)
        return self.reply

    def say(self, text: str) -> None:
        """Words of the program or the operator, in one piece, after what there is."""
        assert self.reply is not None, "words belong to a reply"
        self._add(self.reply, text, is_checked=True)

    def is_all(self, text: str, now: Instant) -> None:
        """The whole reply is this text of the operator."""
        reply = self.reply
        assert reply is not None, "words belong to a reply"
        reply.text_came(now)
        for sentence in [*self._chunker.push(text), *self._chunker.flush()]:
            self._add(reply, sentence, is_checked=True)
        reply.is_written = True

    def written(
        self, event: m.ReplyText | m.ReplyPaused | m.ReplyWritten | m.ReplyFailed, now: Instant
    ) -> None:
        """More of it is written, or no more will be."""
        reply = self.reply
        if reply is None or event.reply != reply.number or reply.is_written:
            return
        if isinstance(event, m.ReplyText):
            reply.text_came(now)
            for sentence in self._chunker.push(event.text):
                self._add(reply, sentence)
            return
        for sentence in self._chunker.flush():
            self._add(reply, sentence)
        apology = self._talk.manners.apology
        if isinstance(event, m.ReplyFailed) and apology:
            self._add(reply, apology, is_checked=True)
        reply.is_written = not isinstance(event, m.ReplyPaused)

    def _add(self, reply: Reply, text: str, *, is_checked: bool = False) -> None:
        self._pieces += 1
        reply.pieces.append(Piece(self._pieces, text))
        self._talk.out.append(m.Speak(reply.number, self._pieces, text, is_checked))

    def spoken(self, event: m.PieceWorded | m.PieceVoiced | m.PieceDone, now: Instant) -> None:
        """The voice has got on with one of its pieces."""
        reply, playout = self.reply, self._talk.playout
        piece = reply.piece(event.piece) if reply is not None else None
        if reply is None or piece is None or piece.is_done:
            return
        match event:
            case m.PieceWorded(text=text, ends_reply=ends):
                piece.text = text
                reply.characters += len(text)
                if ends:
                    reply.is_written = True
                    del reply.pieces[reply.pieces.index(piece) + 1 :]
            case m.PieceVoiced(audio=audio):
                reply.voice_came(now)
                if not piece.has_begun:
                    piece.has_begun = True
                    playout.begin(piece.number)
                playout.add(audio)
            case m.PieceDone():  # pragma: no branch - the last there is
                piece.is_done = True
                if piece.has_begun:
                    playout.finish()
                else:
                    piece.text = ""

    @property
    def is_voiced(self) -> bool:
        """Whether nothing of it waits for the voice."""
        return self.reply is None or self.reply.is_voiced

    def close(
        self, text: str, now: Instant, *, was_cut: bool, bargein_ms: float | None = None
    ) -> None:
        """The turn is over: heard, or cut. `text` is what counts as said."""
        reply, talk = self.reply, self._talk
        assert reply is not None, "what is closed was begun"
        self.reply = None
        if text:
            talk.add_line("assistant", text, talk.turns, now, is_interrupted=was_cut)
        talk.report_agent_over(reply, now, was_cut=was_cut)
        record = reply.record(
            self._anchors, talk.turns, text, is_interrupted=was_cut, bargein_ms=bargein_ms
        )
        talk.turns += 1
        talk.out.append(m.ReportTurn(record))
        talk.playout.forget_before(talk.playout.heard_ms(now))
