"""The ground that fake language models stand on: scripted answers, told in each vendor's own words.

```python
async with FakeOpenAI([Says("It is cold."), Says(calls=[Calls("get_weather", {"city": "Oslo"})])]) as service:
    llm = OpenAILLM(service.key, base_url=service.base_url)
```

A request takes the next line of the script; after the last one the model repeats what the caller said. What goes
wrong is scripted too: `Says(drops_after=...)`, `Says(error_after=...)`, `Says(stalls_after=...)`, `refusals`, `hold`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

import msgspec

from getpatter.testing.fake_speech import KEY, Answer, Call, FakeService, HungUpError, Refusal

HEARTBEAT_S: Final = 0.01
_PIECE: Final = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True)
class Calls:
    """A tool that the model wants to have called."""

    name: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    id: str = ""
    """Empty: the service numbers it."""


@dataclass(frozen=True, slots=True)
class Says:
    """One answer of the model. Numbers count words of `text`."""

    text: str = ""
    calls: Sequence[Calls] = ()
    drops_after: int | None = None
    """Hang up without a word."""
    ends_after: int | None = None
    """End the body in order, but without the mark that ends an answer."""
    error_after: int | None = None
    """Report a failure inside the answer (`overloaded`), as the vendor does."""
    stalls_after: int | None = None
    """Keep the connection, send signs of life, but not one word more."""
    is_withheld: bool = False
    """The vendor's filter lets nothing through."""
    input_tokens: int = 20
    cached_tokens: int = 8
    """Read from the vendor's cache, beside `input_tokens`."""
    output_tokens: int = 9

    @property
    def words(self) -> list[str]:
        """The text in the pieces that it is sent in."""
        return _PIECE.findall(self.text)


class WrongRequestError(Exception):
    """The vendor would not take this request."""


@dataclass(frozen=True, slots=True)
class Wire:
    """An answer in a vendor's words: what comes first, a frame for each word, and the rest."""

    head: Sequence[bytes]
    words: Sequence[bytes]
    tail: Sequence[bytes]
    failure: bytes = b""
    """How it reports a failure inside the answer."""
    ping: bytes = b": ping\n\n"
    """How it shows that it lives."""


class FakeLLM(FakeService):
    """A vendor's server for its language models. Subclasses know the wire."""

    models: ClassVar[Sequence[str]] = ()
    """The models that there are; none: any."""

    def __init__(self, script: Iterable[Says] = (), *, key: str = KEY) -> None:
        """Answer with `script`, line by line over all requests."""
        super().__init__(key=key)
        self.script = list(script)
        self.bodies: list[dict[str, object]] = []
        """What was asked."""
        self.hung_up = asyncio.Event()
        """A client left in the middle of an answer."""
        self.stalled = asyncio.Event()
        """An answer has come to its `stalls_after`."""

    @property
    def base_url(self) -> str:
        """What the `base_url` of a client is set to."""
        return self.url

    # ------------------------------------------------------------------------ what a vendor decides

    def check(self, call: Call, body: dict[str, object]) -> None:
        """Be as strict as the vendor. Raises `WrongRequestError`."""

    def wire(self, answer: Says, number: int, body: Mapping[str, object]) -> Wire:
        """The answer in the vendor's words. `number` counts answers, so that ids differ. Pure."""
        raise NotImplementedError

    def refused(self, status: int, said: str) -> Refusal:
        """A refusal in the vendor's words."""
        raise NotImplementedError

    def is_answer(self, call: Call) -> bool:
        """Whether this path asks the model, rather than something else."""
        raise NotImplementedError

    def heard(self, body: Mapping[str, object]) -> str:
        """What the caller said last."""
        raise NotImplementedError

    # --------------------------------------------------------------------------------- the answering

    def body_of(self, call: Call) -> dict[str, object]:
        """The request's body as JSON."""
        try:
            return call.json
        except (msgspec.MsgspecError, AssertionError) as error:
            raise WrongRequestError("the body is not a JSON object") from error

    async def http(self, call: Call, answer: Answer) -> None:
        """Answer a request."""
        if call.method == "HEAD" or not self.is_answer(call):
            await answer.whole(Refusal(404, b"" if call.method == "HEAD" else b"{}"))
            return
        try:
            body = self.body_of(call)
            self.check(call, body)
        except WrongRequestError as error:
            await answer.whole(self.refused(400, str(error)))
            return
        self.bodies.append(body)
        says = self.script.pop(0) if self.script else Says(f"You said: {self.heard(body)}")
        try:
            await self._tell(says, self.wire(says, len(self.bodies), body), answer)
        except HungUpError:
            self.hung_up.set()
            raise

    async def _tell(self, says: Says, wire: Wire, answer: Answer) -> None:
        await answer.start("text/event-stream; charset=utf-8", self.headers())
        for frame in wire.head:
            await answer.piece(frame)
        for number, frame in enumerate([*wire.words, b""]):
            if number == says.drops_after:
                await answer.piece(frame[: len(frame) // 2] or b"d")
                answer.drop()
            if number == says.ends_after:
                await answer.end()
                return
            if number == says.error_after:
                await answer.piece(wire.failure)
                await answer.end()
                return
            while number == says.stalls_after:
                self.stalled.set()
                await answer.piece(wire.ping)
                await asyncio.sleep(HEARTBEAT_S)
            if frame:
                await answer.piece(frame)
        for frame in wire.tail:
            await answer.piece(frame)
        await answer.end()

    def headers(self) -> Mapping[str, str]:
        """Headers of an answer."""
        return {}


def data_frame(message: Mapping[str, object], name: str = "", end: str = "\n") -> bytes:
    """One server-sent event."""
    head = f"event: {name}{end}" if name else ""
    return f"{head}data: {msgspec.json.encode(message).decode()}{end}{end}".encode()


def listed(value: object) -> list[dict[str, object]]:
    """The objects in a list of a request."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def inside(value: object) -> dict[str, object]:
    """An object of a request, empty when there is none."""
    return value if isinstance(value, dict) else {}
