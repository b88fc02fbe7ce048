"""Voices that are asked over HTTP: one request a sentence, on connections that stay open.

A vendor says what to ask (`_request`) and how its answer is read (`_reader`); both are pure.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from getpatter.net.messages import HttpRequest
from getpatter.tts._pieces import Bare, Voice


class Reader(Protocol):
    """Finds the sound in the body of an answer. One for each answer; pure."""

    def push(self, data: bytes) -> bytes:
        """The sound in the next bytes. Raises `WireError`, or the error that the vendor reports there."""
        ...

    def flush(self) -> bytes:
        """What was held back."""
        ...


class HttpTTS(Voice):
    """A voice with one request for each text."""

    def _request(self, text: str) -> HttpRequest:
        raise NotImplementedError

    def _reader(self) -> Reader:
        return Bare(self.output_format)

    async def warmup(self) -> None:
        """Load what the first request needs; connections are made when it is sent."""

    async def synthesize(self, text: str) -> AsyncGenerator[bytes]:
        """Speak `text`; yields sound in `output_format` as it arrives.

        Closing or cancelling the iterator ends this request and disturbs no other.

        Raises:
            AuthenticationError: the vendor refuses the key.
            RateLimitError: it wants no more requests.
            PatterConnectionError: another refusal, no answer, or sound that broke off.
        """
        for piece in self._pieces(text):
            reader = self._reader()
            body = self._connections.http.stream(self._request(piece))
            async with aclosing(body) as chunks:
                async for chunk in chunks:
                    if sound := reader.push(chunk):
                        yield sound
            if sound := reader.flush():
                yield sound
