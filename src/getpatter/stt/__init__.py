"""Recognisers: a caller's audio to text, one vendor a file."""
