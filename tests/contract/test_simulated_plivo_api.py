"""The simulated REST API takes what Plivo's client library sends: there is no specification to hold it against."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import pytest
from plivo.resources.applications import Applications
from plivo.resources.calls import Calls
from plivo.resources.numbers import Numbers

from getpatter.testing.plivo_api import OPERATIONS

PATHS: Final = {"self", "call_uuid", "app_id", "number", "from_", "to_"}


@pytest.mark.parametrize(
    ("operation", "method"),
    [
        ("POST /Call/", Calls.create),
        ("POST /Call/{id}/", Calls.update),
        ("DELETE /Call/{id}/", Calls.delete),
        ("POST /Call/{id}/Record/", Calls.start_recording),
        ("POST /Call/{id}/DTMF/", Calls.send_digits),
        ("POST /Application/", Applications.create),
        ("POST /Application/{id}/", Applications.update),
        ("POST /Number/{id}/", Numbers.update),
        ("GET /PhoneNumber/", Numbers.search),
        ("POST /PhoneNumber/{id}/", Numbers.buy),
    ],
)
def test_parameters_are_those_of_the_client_library(
    operation: str, method: Callable[..., Any]
) -> None:
    sent = set(inspect.signature(method).parameters)
    if operation in {"POST /Number/{id}/", "POST /PhoneNumber/{id}/"}:
        sent |= {"app_id"}
        assert sent - {"self", "number"} == set(OPERATIONS[operation])
        return
    ours = set(OPERATIONS[operation]) - {"from", "to"}
    assert sent - PATHS == ours
