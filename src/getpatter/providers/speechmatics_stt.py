"""An earlier import path of `getpatter.stt.speechmatics`; the classes are the same."""

from getpatter.stt.speechmatics import SpeechmaticsSTT

__all__ = ["SpeechmaticsSTT"]
