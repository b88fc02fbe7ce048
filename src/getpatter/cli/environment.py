"""Settings of a `.env` file in the current folder, for the commands that need credentials."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from getpatter import config


def read() -> str:
    """Take from `.env` what the environment does not say; returns what there is to say about it.

    Addresses of services are not taken: credentials of the environment must not go where a file says.
    """
    path = Path(".env")
    if not path.is_file():
        return "none here"
    if find_spec("dotenv") is None:
        return "not read, as python-dotenv is not installed"
    from dotenv import dotenv_values

    for name, value in dotenv_values(path).items():
        if value and not name.endswith("_BASE_URL"):
            config.set_default(name, value)
    return "read"
