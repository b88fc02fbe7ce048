"""Voices: text to audio, one vendor a file."""
