"""Checks of the arguments of public functions, by the names of parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from online_features.errors import InvalidRowsError, OnlineFeaturesError, OptionError
from online_features.feature_view import FeatureView

# A generation is removed ten minutes after it was published last.
MOST_POINTER_AGE = timedelta(minutes=5)


@dataclass(frozen=True)
class Rule:
    """A requirement on an argument.

    :param holds: returns whether an argument meets it.
    :param what: what the argument must be, in words.
    """

    holds: Callable[[Any], bool]
    what: str
    error: type[OnlineFeaturesError] = OptionError


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


def _has(attribute: str) -> Callable[[Any], bool]:
    return lambda value: hasattr(value, attribute)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_list(value: Any) -> bool:
    return isinstance(value, Collection) and not isinstance(value, (str, bytes, Mapping))


def _is_integer(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_short(value: Any) -> bool:
    return isinstance(value, timedelta) and timedelta(0) <= value <= MOST_POINTER_AGE


def _are(kind: type) -> Callable[[Any], bool]:
    return lambda value: _is_list(value) and all(isinstance(item, kind) for item in value)


OFFLINE = 'an OfflineStore, such as OfflineStore("postgresql://…")'
ONLINE = 'an OnlineStore, such as OnlineStore.from_url("redis://…")'
FLAG = Rule(_is(bool), "True or False")

RULES = {
    "view": Rule(_is(FeatureView), "a FeatureView"),
    "views": Rule(_are(FeatureView), "a list of feature views", InvalidRowsError),
    "entity_rows": Rule(_is_list, "a list of mappings from join key to value", InvalidRowsError),
    "features": Rule(_are(str), "a list of names of features", InvalidRowsError),
    "at_generation": Rule(_is_text, "the id of a generation", InvalidRowsError),
    "generation": Rule(_is_text, "the id of a generation"),
    "name": Rule(_is_text, "the name of a view, or project:view"),
    "offline": Rule(_has("describe"), OFFLINE),
    "online": Rule(_has("get_online_features"), ONLINE),
    "check": Rule(_has("ask"), "a ViewFreshnessCheck or an EntityFreshnessCheck"),
    "uri": Rule(_is(str), "a text, postgresql://user:password@host:port/database"),
    "credentials": Rule(callable, "a function that returns user and password"),
    "full": FLAG,
    "prune": FLAG,
    "publish": FLAG,
    "in_place": FLAG,
    "overwrite": FLAG,
    "allow_empty": FLAG,
    "ignore_missed": FLAG,
    "ignore_checks": FLAG,
    "ignore_memory": FLAG,
    "ends_hold": FLAG,
    "with_erasures": FLAG,
    "full_feature_names": FLAG,
    "numpy_arrays": FLAG,
    "generations": Rule(_is(Mapping), "a mapping from name of a view to generation"),
    "keep_generations": Rule(_is_integer(0), "a number of generations, not negative"),
    "plan": Rule(_has("parts"), "a BuildPlan, as plan_build returns it"),
    "part": Rule(_has("to_dict"), "a BuildPart, such as plan.parts[0]"),
    "parts": Rule(_is_integer(1), "a number of parts, at least 1"),
    "parallel": Rule(_is_integer(1), "a number of processes, at least 1"),
    "lookback": Rule(_is(timedelta), "a timedelta"),
    "statement_timeout": Rule(_is(timedelta), "a timedelta"),
    "replica_timeout": Rule(_is(timedelta), "a timedelta"),
    "origin": Rule(_is(Mapping), "a mapping, such as {'dag_id': 'features'}"),
    "pointer_max_age": Rule(_is_short, f"a timedelta of at most {MOST_POINTER_AGE}"),
    "limit": Rule(_is_integer(1), "a number of runs, at least 1"),
    "on_progress": Rule(callable, "a function that takes a Progress"),
    "sample": Rule(_is_integer(1), "a number of entities, at least 1, or None for all rows"),
    "record": FLAG,
    "repair": FLAG,
    "batch_rows": Rule(_is_integer(1), "a number of rows, at least 1"),
    "wait_for_replicas": Rule(_is_integer(0), "a number of replicas, not negative"),
}


def check(**given: Any) -> None:
    """Check arguments by the rules of their names.

    :raises OnlineFeaturesError: naming the first that breaks its rule, but not the text of it, which may be a password.
    """
    for name, value in given.items():
        rule = RULES[name]
        if not rule.holds(value):
            is_shown = value is None or isinstance(value, (bool, int, float)) or (isinstance(value, str) and not value)
            got = repr(value) if is_shown else f"a {type(value).__name__}"
            raise rule.error(f"{name}= must be {rule.what}, not {got}")


def check_given(**given: Any) -> None:
    """Check arguments that are not ``None``, as :func:`check` does."""
    check(**{name: value for name, value in given.items() if value is not None})
