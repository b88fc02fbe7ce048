"""The services of a call that is made of a recogniser, a model and a voice, behind one door."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from getpatter.core import messages as m
from getpatter.runtime.confirming import Confirming
from getpatter.runtime.ears import Ears
from getpatter.runtime.judging import Judging
from getpatter.runtime.mouth import Mouth
from getpatter.runtime.writer import Writer
from getpatter.types import AudioFormat


@dataclass(frozen=True, slots=True)
class PipelineParts:
    """A recogniser, a writer and a voice, and who decides about interruptions and ends of turns."""

    ears: Ears
    mouth: Mouth
    writer: Writer
    confirming: Confirming
    judging: Judging | None
    spawn: Callable[..., object]

    def hear(self, data: bytes) -> None:
        """The caller's sound, in the carrier's format."""
        self.ears.hear(data)
        if self.judging is not None:
            self.judging.hear(data)

    def order(self, command: m.AnyCommand) -> None:
        """Have it written, spoken, or stopped."""
        match command:
            case m.Speak():
                self.mouth.speak(command)
            case m.StartReply():
                self.writer.start(command)
            case m.AskConfirmation():
                self.confirming.ask(command)
            case m.AskTurnEnd():
                if self.judging is not None:
                    self.judging.ask(command)
            case m.CancelReply():
                self.cancel()
            case m.StartDraft(text=text):
                self.writer.draft(text)
            case m.DropDraft():
                self.writer.drop_draft()
            case m.AskFinal():
                self.spawn(self.ears.finalize(), name="ask-final")
            case _:
                pass

    def room_made(self) -> None:
        """The voice may go on."""
        self.mouth.room_made()

    def tune(self, stream: AudioFormat) -> None:
        """Hear and speak in this format from now on."""
        self.ears.tune(stream)
        self.mouth.tune(stream)

    def cancel(self) -> None:
        """Stop writing and speaking."""
        self.writer.cancel()
        self.mouth.cancel()
