"""An earlier import path of `getpatter.tts.rime`; the classes are the same."""

from getpatter.tts.rime import RimeTTS

__all__ = ["RimeTTS"]
