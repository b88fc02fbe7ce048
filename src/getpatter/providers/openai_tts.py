"""An earlier import path of `getpatter.tts.openai`; the classes are the same."""

from getpatter.tts.openai import OpenAITTS

__all__ = ["OpenAITTS"]
