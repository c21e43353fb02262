"""The page of the API names everything that users import, with its parameters and their defaults."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import online_features
import pytest
from online_features_provider.get_provider_info import get_provider_info

from demo.workplace import PROJECT

PAGE = (PROJECT / "docs" / "api.md").read_text()
PACKAGES = ("online_features", "online_features_provider")
Stub = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
DEFAULTS = {"timedelta": timedelta, "FeastOptions": online_features.FeastOptions}  # names in defaults on the page
BESIDES = {"self", "cls", "kwargs"}


def stubs() -> Iterator[tuple[str, Stub]]:
    """Definitions on the page, each with the module that users import it from."""
    for section in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        module = title if "." in title else "online_features"
        for block in re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
            yield from ((module, node) for node in ast.parse(block).body if isinstance(node, Stub))


STUBS = {f"{module}.{stub.name}": (getattr(import_module(module), stub.name), stub) for module, stub in stubs()}


def documented(stub: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, Any]:
    """Names of parameters with their defaults, as the page has them."""
    told = stub.args
    positional = [*told.posonlyargs, *told.args]
    defaults = [*[None] * (len(positional) - len(told.defaults)), *told.defaults, *told.kw_defaults]
    names = [argument.arg for argument in (*positional, *told.kwonlyargs)]
    values = [_value(default) for default in defaults]
    return {
        **dict(zip(names, values, strict=True)),
        **({told.kwarg.arg: inspect.Parameter.empty} if told.kwarg else {}),
    }


def _value(default: ast.expr | None) -> Any:
    return inspect.Parameter.empty if default is None else eval(ast.unparse(default), DEFAULTS)


def accepted(function: Any) -> dict[str, Any]:
    """Names of parameters with their defaults; of a class, also those that it hands to its bases in our packages."""
    functions = [function]
    if inspect.isclass(function):
        ours = [base for base in function.__mro__ if base.__module__.startswith(PACKAGES)]
        functions = [vars(base)["__init__"] for base in reversed(ours) if "__init__" in vars(base)]
    parameters: dict[str, Any] = {}
    for each in functions:
        for name, parameter in inspect.signature(inspect.unwrap(each)).parameters.items():
            made = type(parameter.default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS"
            parameters[name] = {} if made else parameter.default
    return parameters


def without(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: default for name, default in parameters.items() if name not in BESIDES}


def test_every_export_is_on_the_page() -> None:
    for name in online_features.__all__:
        assert f"online_features.{name}" in STUBS or f"`{name}`" in PAGE, name


def test_every_public_module_of_the_provider_is_on_the_page() -> None:
    info = get_provider_info()
    for part in ("hooks", "operators", "sensors", "triggers"):
        for integration in info[part]:
            for module in integration["python-modules"]:
                assert f"### {module}\n" in PAGE


@pytest.mark.parametrize("name", STUBS)
def test_parameters_are_those_of_the_signature(name: str) -> None:
    thing, stub = STUBS[name]
    functions = {name: stub}
    if isinstance(stub, ast.ClassDef):
        functions = {node.name: node for node in stub.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for label, function in functions.items():
        real = thing if label in (name, "__init__") else getattr(thing, label)
        assert without(documented(function)) == without(accepted(real)), label
        assert inspect.iscoroutinefunction(real) == isinstance(function, ast.AsyncFunctionDef)


@pytest.mark.parametrize("name", [name for name, (thing, _) in STUBS.items() if inspect.isclass(thing)])
def test_attributes_and_methods_are_those_of_the_class(name: str) -> None:
    kind, stub = STUBS[name]
    assert isinstance(stub, ast.ClassDef)
    fields = {
        node.target.id for node in stub.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    methods = {node.name for node in stub.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    if fields:
        made = set(inspect.signature(kind).parameters) | {
            label for label, value in vars(kind).items() if isinstance(value, property)
        }
        assert fields <= made | {"freshness"}
        assert {label for label in made if label in getattr(kind, "__dataclass_fields__", {})} <= fields
    assert all(callable(getattr(kind, method)) for method in methods)
    if name.endswith("Store"):
        assert {label for label in vars(kind) if not label.startswith("_")} == methods - {"__init__"}
