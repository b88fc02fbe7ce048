"""The test kit that ships with the SDK: a clock you turn, and simulated carriers and services."""

from __future__ import annotations
