"""An earlier import path of `getpatter.stt.assemblyai`; the classes are the same."""

from getpatter.stt.assemblyai import AssemblyAISTT

__all__ = ["AssemblyAISTT"]
