"""Voice detectors: when does the caller speak, and when not."""
