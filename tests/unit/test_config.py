"""Settings and credentials: from arguments, from the environment, or a message that says what to do."""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from getpatter import config
from getpatter.config import LocalConfig


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        "PATTER_BIND_HOST",
        "PATTER_LOG_DIR",
        "PATTER_LOG_RETENTION_DAYS",
        "PATTER_LOG_REDACT_PHONE",
        "NO_COLOR",
        "PATTER_DASHBOARD_NOTIFY",
        "PATTER_OTEL_ENABLED",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "XDG_DATA_HOME",
        "PATTER_SMART_TURN_MODEL",
        "LOCALAPPDATA",
        "ONE_KEY",
        "TWO_KEY",
    ]:
        monkeypatch.delenv(name, raising=False)


def test_a_given_credential_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE_KEY", "from-environment")
    assert config.credential("ONE_KEY", "given") == "given"
    assert config.credential("ONE_KEY", " ") == "from-environment"
    assert config.credential("ONE_KEY", None) == "from-environment"


def test_variables_are_read_when_asked_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWO_KEY", "two")
    assert config.credential(("ONE_KEY", "TWO_KEY")) == "two"
    monkeypatch.setenv("ONE_KEY", " one ")
    assert config.credential(("ONE_KEY", "TWO_KEY")) == "one"


def test_a_missing_credential_names_argument_and_variable() -> None:
    with pytest.raises(ValueError, match=r"OneSTT: auth_token is missing: .*ONE_KEY or TWO_KEY"):
        config.credential(("ONE_KEY", "TWO_KEY"), "", argument="auth_token", owner="OneSTT")
    assert config.optional_credential("ONE_KEY") == ""


def test_a_credential_of_the_wrong_type_is_not_shown() -> None:
    with pytest.raises(TypeError, match="api_key must be a str, not bytes") as caught:
        config.credential("ONE_KEY", b"s3cret")  # type: ignore[arg-type]
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "on", "off_by_default"),
    [
        ("1", True, True),
        ("YES", True, True),
        ("On", True, True),
        ("0", False, False),
        ("False", False, False),
        ("NO", False, False),
        ("off", False, False),
        ("", True, False),
        ("maybe", True, False),
    ],
)
def test_switches(
    monkeypatch: pytest.MonkeyPatch, value: str, on: bool, off_by_default: bool
) -> None:
    monkeypatch.setenv("PATTER_DASHBOARD_NOTIFY", value)
    monkeypatch.setenv("PATTER_OTEL_ENABLED", value)
    assert config.notifies_dashboard() is on
    assert config.tracing_enabled() is off_by_default


def test_defaults() -> None:
    assert config.bind_host() == "127.0.0.1"
    assert config.retention_days() == 30
    assert config.phone_redaction() == "mask"
    assert config.otlp_endpoint() == ""
    assert config.smart_turn_model() == ""
    assert config.wants_colour()


def test_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATTER_BIND_HOST", "0.0.0.0")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    monkeypatch.setenv("PATTER_SMART_TURN_MODEL", "model.onnx")
    assert config.bind_host() == "0.0.0.0"
    assert not config.wants_colour()
    assert config.otlp_endpoint() == "http://collector:4318"
    assert config.smart_turn_model() == "model.onnx"


@pytest.mark.parametrize(
    ("value", "days", "warns"),
    [("0", 0, 0), ("7", 7, 0), ("-1", 30, 1), ("a week", 30, 1), ("1.5", 30, 1), ("٣", 30, 1)],
)
def test_retention(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: str,
    days: int,
    warns: int,
) -> None:
    monkeypatch.setenv("PATTER_LOG_RETENTION_DAYS", value)
    with caplog.at_level(logging.WARNING):
        assert config.retention_days() == days
    assert len(caplog.records) == warns


@pytest.mark.parametrize(
    ("value", "way", "warns"),
    [
        ("1", "mask", 0),
        ("mask", "mask", 0),
        ("0", "full", 0),
        ("FULL", "full", 0),
        ("hash_only", "hash_only", 0),
        ("hide", "mask", 1),
    ],
)
def test_redaction(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: str,
    way: str,
    warns: int,
) -> None:
    monkeypatch.setenv("PATTER_LOG_REDACT_PHONE", value)
    with caplog.at_level(logging.WARNING):
        assert config.phone_redaction() == way
    assert len(caplog.records) == warns


def test_nothing_is_persisted_unless_told() -> None:
    assert config.persist_root(None) is None
    assert config.persist_root(persist=False) is None


def test_the_variable_counts_only_without_an_argument(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATTER_LOG_DIR", str(tmp_path))
    assert config.persist_root(None) == tmp_path
    assert config.persist_root(persist=False) is None
    assert config.persist_root(persist=True) == config.platform_data_dir()
    assert config.persist_root(tmp_path / "x") == tmp_path / "x"
    assert config.persist_root("~/calls") == Path.home() / "calls"
    monkeypatch.setenv("PATTER_LOG_DIR", "AUTO")
    assert config.persist_root(None) == config.platform_data_dir()
    monkeypatch.setenv("PATTER_LOG_DIR", "~/calls")
    assert config.persist_root(None) == Path.home() / "calls"


def test_a_wrong_directory() -> None:
    with pytest.raises(TypeError, match="not int"):
        config.persist_root(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="empty path"):
        config.persist_root("")


@pytest.mark.parametrize(
    ("platform", "variable", "place"),
    [
        ("darwin", None, "Library/Application Support/patter"),
        ("linux", None, ".local/share/patter"),
        ("linux", "XDG_DATA_HOME", None),
        ("win32", None, "AppData/Local/patter"),
        ("win32", "LOCALAPPDATA", None),
    ],
)
def test_the_directory_of_each_platform(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    platform: str,
    variable: str | None,
    place: str | None,
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    expected = tmp_path / "patter" if place is None else Path.home() / place
    assert config.platform_data_dir() == expected


def test_a_relative_data_directory_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", "data")
    assert config.platform_data_dir() == Path.home() / ".local/share/patter"


def test_a_local_config_shows_no_secret() -> None:
    names = [field.name for field in dataclasses.fields(LocalConfig)]
    secrets = [n for n in names if n.endswith(("_key", "_token", "_sid", "_auth_id"))]
    assert len(secrets) == 15
    values: dict[str, Any] = dict.fromkeys(secrets, "s3cret")
    made = LocalConfig(**values, trusted_proxies=["10.0.0.0/8"])
    assert "s3cret" not in repr(made)
    assert made.trusted_proxies == ("10.0.0.0/8",)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.phone_number = "x"  # type: ignore[misc]


def test_local_config_defaults() -> None:
    made = LocalConfig()
    assert (made.telephony_provider, made.require_signature, made.persist_root) == (
        "twilio",
        True,
        None,
    )
    assert (made.phone_number, made.webhook_url, made.openai_key) == ("", "", "")
