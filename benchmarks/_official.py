"""REST requests held against what the vendors themselves publish: a specification, or their own client library.

The simulated carriers check each request too, by tables of their own. This is the second opinion, straight from
the document: Twilio's OpenAPI, the schema of Telnyx's commands, and the signatures of Plivo's client (there is no
document). Where neither is at hand the count says so, and the simulation's check stands alone.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

_BESIDE: Final = Path(__file__).parents[2] / "shared" / "specs"
_FILES: Final = {
    "twilio": ("GETPATTER_TWILIO_SPEC", "twilio_api_v2010.json"),
    "telnyx": ("GETPATTER_TELNYX_SPEC", "telnyx_call_control_from_sdk.json"),
}
_TELNYX_NAMES: Final = {
    "POST /calls": "dial",
    "record_start": "action_start_recording",
    "streaming_start": "action_start_streaming",
    "playback_start": "action_start_playback",
    "playback_stop": "action_stop_playback",
    "record_stop": "action_stop_recording",
    "streaming_stop": "action_stop_streaming",
}
_TELNYX_ON_THE_WIRE: Final = {
    ("action_bridge", "call_control_id"): "call_control_id_to_bridge_with",
}
"""Names that the client library writes differently from the wire, and the schema made from it with it."""
_PLIVO_METHODS: Final = {
    "POST /Call/": ("calls", "Calls", "create"),
    "POST /Call/{id}/": ("calls", "Calls", "update"),
    "GET /Application/": ("applications", "Applications", "list"),
    "DELETE /Call/{id}/": ("calls", "Calls", "delete"),
    "POST /Call/{id}/Record/": ("calls", "Calls", "start_recording"),
    "POST /Call/{id}/DTMF/": ("calls", "Calls", "send_digits"),
    "POST /Application/": ("applications", "Applications", "create"),
    "POST /Application/{id}/": ("applications", "Applications", "update"),
    "POST /Number/{id}/": ("numbers", "Numbers", "update"),
}


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the vendor's own word says of the requests of a run."""

    source: str
    """What they were held against; empty where nothing was at hand."""
    made: int
    valid: int
    reads: int
    """Requests without parameters (`GET` of one thing): nothing to hold against anything."""
    unknown: int
    """Requests of operations that the source does not describe."""
    problems: tuple[str, ...]

    def __str__(self) -> str:
        if not self.source:
            return f"{self.made} REST requests made; no specification at hand, checked by the simulation alone"
        left = f", {self.reads} reads without parameters" if self.reads else ""
        left += f", {self.unknown} of operations that it does not describe" if self.unknown else ""
        return f"{self.made} REST requests made, {self.valid} valid by {self.source}{left}"


def judged(carrier: str, requests: Sequence[Any]) -> Opinion:
    """Hold every request against the vendor's own word."""
    source, check = _judge(carrier)
    valid, reads, unknown, problems = 0, 0, 0, []
    for request in requests if check is not None else ():
        assert check is not None
        found = check(request)
        if found is None and request.operation.startswith("GET ") and not _fields(request):
            reads += 1
        elif found is None:
            unknown += 1
        elif found:
            problems.append(f"{request.operation}: {found}")
        else:
            valid += 1
    return Opinion(source, len(requests), valid, reads, unknown, tuple(problems))


def _fields(request: Any) -> Mapping[str, object]:
    found: Mapping[str, object] = getattr(request, "body", None) or getattr(request, "form", {})
    return found


_Check = Callable[[Any], str | None]
"""Empty: valid. A text: what is wrong. `None`: the source does not describe the operation."""


def _judge(carrier: str) -> tuple[str, _Check | None]:
    if carrier == "plivo":
        try:
            importlib.import_module("plivo")
        except ImportError:
            return "", None
        return "the signatures of Plivo's client library", _plivo
    document = _document(carrier)
    if document is None:
        return "", None
    name = _FILES[carrier][1]
    return name, _twilio if carrier == "twilio" else _telnyx


@cache
def _document(carrier: str) -> Any:
    variable, file = _FILES[carrier]
    path = Path(os.environ.get(variable, "") or _BESIDE / file)
    return json.loads(path.read_text()) if path.is_file() else None


# ------------------------------------------------------------------------------------------- OpenAPI


def _twilio(request: Any) -> str | None:
    document = _document("twilio")
    verb, _, path = request.operation.partition(" ")
    entry = document["paths"].get("/2010-04-01/Accounts/{AccountSid}" + path, {}).get(verb.lower())
    if entry is None:
        return None
    if verb == "GET":
        listed = [each for each in entry["parameters"] if each["in"] == "query"]
        schema: Mapping[str, Any] = {
            "properties": {each["name"]: each["schema"] for each in listed},
            "required": [each["name"] for each in listed if each.get("required")],
        }
    else:
        content = entry["requestBody"]["content"]
        schema = content["application/x-www-form-urlencoded"]["schema"]
    body = {
        name: _typed(schema["properties"].get(name, {}), list(values))
        for name, values in request.form.items()
    }
    return _misfit(body, schema, {"components": document["components"]})


def _typed(schema: Mapping[str, Any], values: list[str]) -> object:
    """A form has texts only; the specification says what they stand for."""
    match schema.get("type"):
        case "array":
            return [part for value in values for part in value.split()]
        case "integer" if values[-1].lstrip("-").isdecimal():
            return int(values[-1])
        case "boolean" if values[-1] in {"true", "false"}:
            return values[-1] == "true"
        case _:
            return values[-1]


def _telnyx(request: Any) -> str | None:
    operation = request.operation
    if operation.startswith("PATCH "):
        return _unknown_names(request, _telnyx_application())
    verb = operation.rpartition("/")[2]
    name = _TELNYX_NAMES.get(operation) or _TELNYX_NAMES.get(verb) or f"action_{verb}"
    schema = _document("telnyx")["commands"].get(name)
    if schema is None or not operation.startswith("POST "):
        return None
    body = {
        _TELNYX_ON_THE_WIRE.get((name, field), field): value
        for field, value in request.body.items()
    }
    return _misfit(body, schema, {"$defs": schema.get("$defs", {})})


@cache
def _telnyx_application() -> frozenset[str]:
    """What its client library lets be changed of an application; the schema has the calls only."""
    module = importlib.import_module("telnyx.types.call_control_application_update_params")
    return frozenset(module.CallControlApplicationUpdateParams.__annotations__)


def _unknown_names(request: Any, known: Collection[str]) -> str:
    return "; ".join(f"no parameter {name}" for name in request.body if name not in known)


def _misfit(body: Mapping[str, object], schema: Mapping[str, Any], refs: Mapping[str, Any]) -> str:
    """What is wrong with a body, unknown parameters included; empty when nothing is."""
    wanted = {
        **refs,
        "type": "object",
        "properties": schema["properties"],
        "required": schema.get("required", []),
        "additionalProperties": False,
    }
    validator: Any = importlib.import_module("jsonschema").Draft202012Validator  # has no types
    errors = validator(wanted).iter_errors(body)
    return "; ".join(f"{'.'.join(map(str, each.path))} {each.message}"[:160] for each in errors)


# --------------------------------------------------------------------------------- a client's methods


def _plivo(request: Any) -> str | None:
    if request.operation == "GET /Call/{id}/":
        return _unknown_names(request, _plivo_filters())
    found = _PLIVO_METHODS.get(request.operation)
    if found is None:
        return None
    module, owner, method = found
    resource = getattr(importlib.import_module(f"plivo.resources.{module}"), owner)
    known = inspect.signature(getattr(resource, method))
    names = {each.rstrip("_") for each in known.parameters} | {"app_id"}
    required = {
        each.rstrip("_")
        for each, parameter in known.parameters.items()
        if parameter.default is inspect.Parameter.empty
    } - {"self", "call_uuid", "app_id", "number"}
    wrong = [f"{name} is required" for name in required if not request.body.get(name)]
    return "; ".join(filter(None, [_unknown_names(request, names), *wrong]))


@cache
def _plivo_filters() -> frozenset[str]:
    """What its client asks of one call: the live ones are found by a `status`, which is no argument of it."""
    resource = importlib.import_module("plivo.resources.live_calls").LiveCalls
    return frozenset(
        re.findall(r"""["']?(\w+)["']?[=:]\s*["']live["']""", inspect.getsource(resource))
    )
