"""The simulated REST API takes what the real one takes: by Telnyx's client library and by its types as a schema."""

from __future__ import annotations

import importlib
import json
import os
import re
import typing
from pathlib import Path
from typing import Any, Final

import pytest

from getpatter.testing.telnyx_api import OPERATIONS

SPECIFICATION: Final = os.environ.get("GETPATTER_TELNYX_SPEC", "")
"""Path of a JSON Schema of the commands, made from the types of Telnyx's client library."""

ACTION: Final = "POST /calls/{id}/actions/"
COMMANDS: Final = {
    "POST /calls": ("call_dial_params", "CallDialParams", "dial"),
    ACTION + "answer": ("calls.action_answer_params", "ActionAnswerParams", "action_answer"),
    ACTION + "reject": ("calls.action_reject_params", "ActionRejectParams", "action_reject"),
    ACTION + "hangup": ("calls.action_hangup_params", "ActionHangupParams", "action_hangup"),
    ACTION + "streaming_start": (
        "calls.action_start_streaming_params",
        "ActionStartStreamingParams",
        "action_start_streaming",
    ),
    ACTION + "record_start": (
        "calls.action_start_recording_params",
        "ActionStartRecordingParams",
        "action_start_recording",
    ),
    ACTION + "speak": ("calls.action_speak_params", "ActionSpeakParams", "action_speak"),
    ACTION + "transfer": (
        "calls.action_transfer_params",
        "ActionTransferParams",
        "action_transfer",
    ),
    ACTION + "bridge": ("calls.action_bridge_params", "ActionBridgeParams", "action_bridge"),
    ACTION + "playback_start": (
        "calls.action_start_playback_params",
        "ActionStartPlaybackParams",
        "action_start_playback",
    ),
    ACTION + "playback_stop": (
        "calls.action_stop_playback_params",
        "ActionStopPlaybackParams",
        "action_stop_playback",
    ),
    ACTION + "send_dtmf": (
        "calls.action_send_dtmf_params",
        "ActionSendDtmfParams",
        "action_send_dtmf",
    ),
}


ON_THE_WIRE: Final = {"call_control_id_to_bridge_with": "call_control_id"}
"""Names that the client library gives to its users, and what it sends."""


def sent(name: str) -> str:
    return ON_THE_WIRE.get(name, name)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("operation", sorted(COMMANDS))
def test_parameters_are_those_of_the_client_library(operation: str) -> None:
    module, name, _ = COMMANDS[operation]
    params = getattr(importlib.import_module(f"telnyx.types.{module}"), name)
    fields = {sent(each.rstrip("_")) for each in params.__annotations__}
    assert fields == set(OPERATIONS[operation])
    # The annotations are texts, so the class itself does not know which of its keys are required.
    required = {
        sent(each.rstrip("_"))
        for each, kind in params.__annotations__.items()
        if "Required[" in str(kind)
    }
    assert required == {
        each for each, parameter in OPERATIONS[operation].items() if parameter.is_required
    }


def test_the_application_takes_what_the_client_library_sends() -> None:
    module = importlib.import_module("telnyx.types.call_control_application_update_params")
    known = set(typing.get_type_hints(module.CallControlApplicationUpdateParams))
    assert set(OPERATIONS["PATCH /call_control_applications/{id}"]) <= known


def test_numbers_are_found_and_bought_as_the_client_library_does_it() -> None:
    def fields(module: str, name: str) -> set[str]:
        found = getattr(importlib.import_module(f"telnyx.types.{module}"), name)
        return set(found.__annotations__)

    offers = {
        re.sub(r"^filter\[(\w+)\].*", r"\1", each)
        for each in OPERATIONS["GET /available_phone_numbers"]
    }
    assert offers == fields("available_phone_number_list_params", "Filter")
    assert set(OPERATIONS["POST /number_orders"]) == fields(
        "number_order_create_params", "NumberOrderCreateParams"
    )
    assert set(OPERATIONS["PATCH /phone_numbers/{id}"]) == fields(
        "phone_number_update_params", "PhoneNumberUpdateParams"
    )
    ours = {
        re.sub(r"^filter\[([\w.]+)\].*", r"\1", each).replace(".", "_")
        for each in OPERATIONS["GET /phone_numbers"]
        if each.startswith("filter")
    }
    assert ours == fields("phone_number_list_params", "Filter")


@pytest.fixture(scope="module")
def specification() -> dict[str, Any]:
    if not SPECIFICATION:
        pytest.skip("set GETPATTER_TELNYX_SPEC to compare with the schema")
    found: dict[str, Any] = json.loads(Path(SPECIFICATION).read_text())
    return found


@pytest.mark.parametrize("operation", sorted(COMMANDS))
def test_parameters_are_those_of_the_schema(operation: str, specification: dict[str, Any]) -> None:
    schema = specification["commands"][COMMANDS[operation][2]]
    ours = OPERATIONS[operation]
    theirs = {sent(name): kind for name, kind in schema["properties"].items()}
    assert set(ours) == set(theirs)
    assert {name for name, each in ours.items() if each.is_required} == set(
        map(sent, schema.get("required", ()))
    )
    for name, kind in theirs.items():
        values = kind.get("enum") or ([kind["const"]] if "const" in kind else [])
        if ours[name].kind == "enum":
            assert set(ours[name].choices) == {str(each) for each in values}, name
        else:
            kinds = {
                "string": {"text", "base64", "url", "wss"},
                "integer": {"int"},
                "boolean": {"bool"},
            }
            assert ours[name].kind in kinds.get(kind.get("type", ""), {"any"}) | {"any"}, name
