"""ElevenLabs' voices over their socket only, with its time limits as options.

The wire is that of `getpatter.tts.elevenlabs`; models without a socket are refused at construction.
"""

from __future__ import annotations

from typing import Unpack

from getpatter.tts.elevenlabs import (
    ElevenLabsTTS,
    ElevenLabsTTSError,
    Options,
    has_socket,
)
from getpatter.types import AudioFormat

__all__ = ["TTS", "ElevenLabsTTSError", "ElevenLabsWebSocketTTS"]


class ElevenLabsWebSocketTTS(ElevenLabsTTS):
    """ElevenLabs over one socket a call."""

    def __init__(
        self,
        api_key: str | None = None,
        *,
        output_format: str | AudioFormat | None = None,
        open_timeout: float = 5.0,
        frame_timeout: float = 30.0,
        **options: Unpack[Options],
    ) -> None:
        """As `ElevenLabsTTS`.

        Args:
            api_key: Else `ELEVENLABS_API_KEY`.
            output_format: As `ElevenLabsTTS` takes it.
            open_timeout: Seconds in which the socket must open.
            frame_timeout: Seconds of silence of the vendor, while it owes sound, that end a text.
            options: What else `ElevenLabsTTS` takes.

        Raises:
            ValueError: no key, a value that the vendor does not take, or a model without a socket.
        """
        super().__init__(api_key, output_format=output_format, **options)
        if not has_socket(self.model_id):
            raise ValueError(
                f"{self.model_id} cannot be streamed over a socket: use ElevenLabsTTS, which asks over HTTP"
            )
        for name, seconds in (("open_timeout", open_timeout), ("frame_timeout", frame_timeout)):
            if not seconds > 0:
                raise ValueError(f"{name} must be more than 0 seconds, not {seconds}")
        self._open_limit_s = open_timeout
        self._frame_limit_s = frame_timeout
        self._set(open_timeout=open_timeout, frame_timeout=frame_timeout)


TTS = ElevenLabsWebSocketTTS
