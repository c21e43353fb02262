"""The guide to feature views names every parameter, with its default, and its examples are valid."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from online_features import FeatureView, PostgresSource

from demo.workplace import PROJECT

GUIDE = (PROJECT / "docs" / "feature-views.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("kind", [FeatureView, PostgresSource])
def test_every_parameter_is_in_the_table(kind: Any) -> None:
    table = GUIDE.partition(f"## {kind.__name__}\n")[2].partition("\n#")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE))
    parameters = inspect.signature(kind).parameters
    assert set(told) == set(parameters)
    for name, parameter in parameters.items():
        if isinstance(parameter.default, str):
            assert told[name] == f'`"{parameter.default}"`'


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_valid(example: str) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    exec(example, names)
    assert [made for made in names.values() if isinstance(made, (FeatureView, PostgresSource))]
