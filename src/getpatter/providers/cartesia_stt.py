"""An earlier import path of `getpatter.stt.cartesia`; the classes are the same."""

from getpatter.stt.cartesia import CartesiaSTT

__all__ = ["CartesiaSTT"]
