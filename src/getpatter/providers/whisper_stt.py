"""An earlier import path of `getpatter.stt.whisper`; the classes are the same."""

from getpatter.stt.whisper import WhisperSTT

__all__ = ["WhisperSTT"]
