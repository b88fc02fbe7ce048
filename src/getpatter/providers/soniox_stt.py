"""An earlier import path of `getpatter.stt.soniox`; the classes are the same."""

from getpatter.stt.soniox import SonioxSTT

__all__ = ["SonioxSTT"]
