"""An earlier import path of `getpatter.tts.elevenlabs_ws`; the classes are the same."""

from getpatter.tts.elevenlabs_ws import ElevenLabsTTSError, ElevenLabsWebSocketTTS

__all__ = ["ElevenLabsTTSError", "ElevenLabsWebSocketTTS"]
