"""An earlier import path of `getpatter.stt.deepgram`; the classes are the same."""

from getpatter.stt.deepgram import DeepgramSTT

__all__ = ["DeepgramSTT"]
