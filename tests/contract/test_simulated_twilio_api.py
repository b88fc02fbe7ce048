"""The simulated REST API takes what the real one takes: by Twilio's specification and by its client library."""

from __future__ import annotations

import inspect
import json
import os
import re
from pathlib import Path
from typing import Any, Final

import pytest
from twilio.rest.api.v2010.account.available_phone_number_country.local import LocalList
from twilio.rest.api.v2010.account.available_phone_number_country.mobile import MobileList
from twilio.rest.api.v2010.account.available_phone_number_country.national import NationalList
from twilio.rest.api.v2010.account.call import CallContext, CallList
from twilio.rest.api.v2010.account.call.recording import RecordingContext, RecordingList
from twilio.rest.api.v2010.account.incoming_phone_number import (
    IncomingPhoneNumberContext,
    IncomingPhoneNumberList,
)

from getpatter.testing.twilio_api import OPERATIONS

SPECIFICATION: Final = os.environ.get("GETPATTER_TWILIO_SPEC", "")
"""Path of `twilio_api_v2010.json` of https://github.com/twilio/twilio-oai, which is too large to keep here."""

NEWER_THAN_THE_SPECIFICATION: Final = {
    "POST /Calls.json": {"RecordingConfigurationId", "Passports"},
    "POST /Calls/{CallSid}/Recordings.json": {"RecordingConfigurationId"},
}
"""In the client library of 9.13, not yet in the specification of April 2026; refused by the simulation."""


@pytest.mark.parametrize(
    ("operation", "method"),
    [
        ("POST /Calls.json", CallList._create),
        ("POST /Calls/{Sid}.json", CallContext._update),
        ("POST /Calls/{CallSid}/Recordings.json", RecordingList._create),
        ("POST /Calls/{CallSid}/Recordings/{Sid}.json", RecordingContext._update),
        ("POST /IncomingPhoneNumbers/{Sid}.json", IncomingPhoneNumberContext._update),
        ("POST /IncomingPhoneNumbers.json", IncomingPhoneNumberList._create),
        ("GET /AvailablePhoneNumbers/{CountryCode}/Local.json", LocalList.page),
        ("GET /AvailablePhoneNumbers/{CountryCode}/National.json", NationalList.page),
        ("GET /AvailablePhoneNumbers/{CountryCode}/Mobile.json", MobileList.page),
    ],
)
def test_parameters_are_those_of_the_client_library(operation: str, method: Any) -> None:
    sent = set(re.findall(r'"([A-Z]\w+)": ', inspect.getsource(method)))
    known = NEWER_THAN_THE_SPECIFICATION.get(operation, set())
    assert sent - known == set(OPERATIONS[operation])


@pytest.fixture(scope="module")
def specification() -> dict[str, Any]:
    if not SPECIFICATION:
        pytest.skip("set GETPATTER_TWILIO_SPEC to compare with the specification")
    found: dict[str, Any] = json.loads(Path(SPECIFICATION).read_text())
    return found


@pytest.mark.timeout(30)
@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_parameters_are_those_of_the_specification(
    operation: str, specification: dict[str, Any]
) -> None:
    verb, path = operation.split()
    entry = specification["paths"]["/2010-04-01/Accounts/{AccountSid}" + path][verb.lower()]
    ours = OPERATIONS[operation]
    if verb == "GET":
        theirs = {
            each["name"]: each["schema"] for each in entry["parameters"] if each["in"] == "query"
        }
        required = {
            each["name"]
            for each in entry["parameters"]
            if each["in"] == "query" and each.get("required")
        }
    else:
        form = entry["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
        theirs, required = form["properties"], set(form.get("required", ()))
    assert set(ours) == set(theirs)
    assert {name for name, each in ours.items() if each.is_required} == required
    schemas = specification["components"]["schemas"]
    for name, given in theirs.items():
        schema = schemas[given["$ref"].rpartition("/")[2]] if "$ref" in given else given
        _compare(name, ours[name].kind, set(ours[name].choices), schema)


def _compare(name: str, kind: str, choices: set[str], schema: dict[str, Any]) -> None:
    if schema.get("format") == "http-method":
        assert kind == "method", name
    elif "enum" in schema:
        assert kind == "enum", name
        assert choices == set(schema["enum"]), name
    elif "pattern" in schema:
        assert kind == "sid", name
        assert schema["pattern"].startswith(f"^{''.join(choices)}["), name
    else:
        expected = {
            "integer": {"int"},
            "boolean": {"bool"},
            "array": {"list"},
            "string": {"url"} if schema.get("format") == "uri" else {"text", "enum", "url"},
        }[schema["type"]]
        assert kind in expected, (name, kind, schema)
