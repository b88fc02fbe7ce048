"""The public names: one table, lazily imported, the same for type checkers and for programs."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from typing import Final

import pytest

import getpatter

TABLE: Final[dict[str, str]] = getpatter._EXPORTS


def test_star_import_gives_every_name() -> None:
    names: dict[str, object] = {}
    exec("from getpatter import *", names)
    assert set(getpatter.__all__) <= set(names)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_name_is_the_object_of_its_module(name: str) -> None:
    module, _, attribute = TABLE[name].partition(":")
    there = importlib.import_module(f"getpatter.{module}")
    assert getattr(getpatter, name) is getattr(there, attribute or name)


def test_type_checkers_see_the_same_names_at_the_same_places() -> None:
    source = ast.parse(Path(getpatter.__file__).read_text())
    block = next(
        node
        for node in source.body
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    )
    modules: dict[str, str] = {}
    seen: dict[str, str] = {}
    for node in block.body:
        match node:
            case ast.ImportFrom(
                module=str(module), names=[ast.alias(name=name, asname=str(known_as))]
            ):
                place = module.removeprefix("getpatter.")
                if known_as.startswith("_"):
                    modules[known_as] = f"{place}.{name}"
                else:
                    assert known_as == name, f"{known_as}: alias the module and assign, see Twilio"
                    seen[name] = place
            case ast.Assign(
                targets=[ast.Name(id=public)],
                value=ast.Attribute(value=ast.Name(id=module), attr=attribute),
            ):
                seen[public] = f"{modules[module]}:{attribute}"
            case _:
                pytest.fail(f"line {node.lineno}: neither an import nor `Name = _module.Name`")
    assert seen == TABLE


def test_names_are_in_order() -> None:
    assert list(TABLE) == sorted(TABLE)


def test_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Telegraph'"):
        getpatter.__getattr__("Telegraph")


def test_dir_lists_names_that_are_not_loaded() -> None:
    assert set(TABLE) <= set(dir(getpatter))


def test_a_name_is_kept_after_first_use() -> None:
    assert getpatter.PatterError is sys.modules["getpatter"].__dict__["PatterError"]
