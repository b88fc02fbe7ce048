"""Older spellings of `Patter(...)`: credentials as flat keywords, in snake_case or camelCase.

`Patter(twilio_sid=..., twilio_token=..., openai_key=...)` still works and warns once with the new spelling.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from getpatter.carriers import KINDS
from getpatter.config import LocalConfig
from getpatter.errors import PatterDeprecationWarning

if TYPE_CHECKING:
    from getpatter.carriers.base import Carrier

_SERVER_FIELDS: Final = {
    "telephony_provider",
    "phone_number",
    "webhook_url",
    "require_signature",
    "persist_root",
    "trusted_proxies",
}
_CREDENTIALS: Final = frozenset(each.name for each in fields(LocalConfig)) - _SERVER_FIELDS
_HOSTED: Final = frozenset({"api_key", "backend_url", "rest_url"})
_RENAMED: Final = frozenset({"phone_number", "webhook_url"})
_NEW: Final = (
    "Patter(twilio_sid=..., ...) is an older spelling: pass Patter(carrier=Twilio(account_sid=..., "
    "auth_token=...), phone_number=..., webhook_url=...) and give providers their own keys, for example "
    "OpenAIRealtime(api_key=...)"
)


def modern(given: Mapping[str, Any]) -> dict[str, Any]:
    """Older keywords under their snake_case names.

    Raises:
        TypeError: a keyword that never existed.
        NotImplementedError: one of the hosted service, which this package does not have.
    """
    found: dict[str, Any] = {}
    for name, value in given.items():
        plain = re.sub(r"(?<=[a-z])([A-Z])", lambda match: f"_{match[1].lower()}", name)
        if plain in _HOSTED or (plain == "mode" and value != "local"):
            raise NotImplementedError(
                f"Patter({name}=...) belongs to a hosted service: this package only has local mode"
            )
        if plain != "mode" and plain not in _CREDENTIALS | _RENAMED:
            raise TypeError(f"Patter() got an unexpected keyword argument {name!r}")
        found[plain] = value
    if found:
        warnings.warn(_NEW, PatterDeprecationWarning, stacklevel=3)
    return found


def carrier_and_keys(
    carrier: Carrier | None, older: Mapping[str, Any]
) -> tuple[Carrier | None, dict[str, str]]:
    """The carrier that older keywords describe, and the keys of providers among them.

    Raises:
        ValueError: keys of two carriers, or a carrier object beside keys of one.
    """
    telephony = {
        name: {key: value for key, value in older.items() if key.startswith(f"{name}_")}
        for name in KINDS
    }
    named = [name for name, keys in telephony.items() if keys]
    if named and carrier is not None:
        raise ValueError(
            f"carrier= and {named[0]}_... exclude each other: pass the keys to the carrier object"
        )
    if len(named) > 1:
        raise ValueError(
            f"keys of {' and '.join(named)}: one Patter has one carrier, pass carrier="
        )
    if named:
        module = import_module(f"getpatter.carriers.{named[0]}")
        config = LocalConfig(telephony_provider=named[0], **telephony[named[0]])
        # Made again by its constructor, which looks for what is missing and complains.
        carrier = replace(module.Carrier.from_config(config))
    keys = {
        key: value for key, value in older.items() if key.endswith("_key") and key in _CREDENTIALS
    }
    for name in named:
        for key in telephony[name]:
            keys.pop(key, None)
    return carrier, keys
