"""An earlier import path of `getpatter.tts.elevenlabs`; the classes are the same."""

from getpatter.tts.elevenlabs import ElevenLabsTTS

__all__ = ["ElevenLabsTTS"]
