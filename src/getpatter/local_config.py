"""The documented place of `LocalConfig`."""

from getpatter.config import LocalConfig

__all__ = ["LocalConfig"]
