"""An earlier import path of `getpatter.tts.cartesia`; the classes are the same."""

from getpatter.tts.cartesia import CartesiaTTS

__all__ = ["CartesiaTTS"]
