"""Speech-to-speech services, one vendor a file."""
