"""The phone as a tool of other agents."""

from __future__ import annotations

from getpatter.integrations.phone_tool import PatterTool, PatterToolResult

__all__ = ["PatterTool", "PatterToolResult"]
