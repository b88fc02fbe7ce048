"""getpatter gives an AI agent a phone number."""

from __future__ import annotations

from getpatter._version import __version__

__all__ = ["__version__"]
