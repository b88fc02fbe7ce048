"""An earlier import path of `getpatter.tts.lmnt`; the classes are the same."""

from getpatter.tts.lmnt import LMNTTTS

__all__ = ["LMNTTTS"]
