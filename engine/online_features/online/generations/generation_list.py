"""The generations of a feature view, as Redis lists them, and which of them readers read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from online_features.common.instants import from_text, to_text
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.online.generations.pointer import published_from
from online_features.online.generations.view_state import count_from, json_object, named
from online_features.online.redis.scripts import state_script
from online_features.resp.replies import optional_text, text

ID = re.compile(r"[0-9a-z]{8}")  # of every other generation

# Fields of the list beside the generations.
VERSION, HOLD, NEEDS_FULL = "@version", "@hold", "@needs_full"
LISTED = "@listed"  # when the list was begun

DETAILS = ("rows", "bytes", "watermark")  # fields of a generation's own hash
INSTANTS = ("registered", "ready", "published", "unpublished", "retired")
TYPES = {"origin": dict, "switch": int, "parts": int}  # of what the list holds of a generation; the others are texts
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Access(Protocol):
    """Access to Redis, which a deployment and a session give."""

    def command(self, *words: str | bytes | int) -> Any:
        """Return the reply to a command."""
        ...


class GenerationState(StrEnum):
    """States of a generation.

    A build is ``ready`` when it is complete and may be published, ``refused`` when it is complete and has failed
    checks of its view: then a person may publish it nevertheless. It is ``unpublished`` when another one was
    published over it, ``rolled back`` when its view went back to the one before, ``retired`` when its rows are
    being removed.
    """

    BUILDING = "building"
    READY = "ready"
    REFUSED = "refused"
    FAILED = "failed"
    PUBLISHED = "published"
    UNPUBLISHED = "unpublished"
    ROLLED_BACK = "rolled back"
    RETIRED = "retired"


COMPLETE = (GenerationState.READY, GenerationState.REFUSED)  # states of builds that were never published


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One complete set of online rows of a view.

    :param id: eight characters that order as the builds began; ``"0"`` for rows from before any build.
    :param run_id: of the run that built it.
    :param fingerprint: of the definition of the view with which it was built.
    :param parts: how many tasks build it, each a part of the source; ``None`` if one run does.
    :param registered: when its build began.
    :param ready: when its build was complete.
    :param published: when it was last published.
    :param unpublished: when it was last replaced, or rolled back from.
    :param retired: when its removal began.
    :param before: the generation that was published before it, to which a rollback goes.
    :param switch: the number of the switch that published it last.
    :param failure: why its build failed, or was refused.
    :param ignored: the checks that failed when it was published nevertheless.
    :param origin: who built, published or rolled it back last.
    :param rows: how many rows the build wrote.
    :param bytes: how many bytes they have.
    :param watermark: everything in the source up to this instant is in it.
    """

    id: str
    state: GenerationState
    run_id: str | None = None
    fingerprint: str | None = None
    parts: int | None = None
    registered: datetime | None = None
    ready: datetime | None = None
    published: datetime | None = None
    unpublished: datetime | None = None
    retired: datetime | None = None
    before: str | None = None
    switch: int | None = None
    failure: str | None = None
    ignored: str | None = None
    origin: Mapping[str, Any] | None = None
    rows: int | None = None
    bytes: int | None = None
    watermark: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Hold:
    """A rollback after which runs do not change what readers see.

    :param by: who rolled back, if the caller said so.
    """

    since: datetime
    by: str | None


@dataclass(frozen=True, kw_only=True)
class GenerationList:
    """The generations of a view at one instant.

    :param published: the generation that readers read; ``"0"`` if none is published.
    :param switch: the number of the last switch of the view.
    :param hold: ``None`` unless the view is held.
    :param needs_full: whether the next run must be a full build, because a hold was released.
    :param builder: id of the run that holds the lease.
    :param version: changes with every change of the list or the pointer.
    :param listed: since when there is a list; it knows nothing of generations from before.
    :param read_at: when Redis was read, by its clock.
    :param generations: by id, the oldest first.
    """

    published: str
    switch: int
    hold: Hold | None
    needs_full: bool
    builder: str | None
    version: str | None = field(compare=False)
    listed: datetime | None = field(compare=False)
    read_at: datetime = field(compare=False)
    generations: tuple[Generation, ...]

    def get(self, generation: str) -> Generation | None:
        """Return a generation of the list."""
        return next((known for known in self.generations if known.id == generation), None)

    @property
    def pointer(self) -> tuple[str, int]:
        """The published generation and the number of the last switch: what :func:`.publish` takes as expected."""
        return self.published, self.switch

    @property
    def pointer_text(self) -> str:
        """The value of the view's field in the project's pointer; ``""`` while nothing is published."""
        return "" if self.published == FIRST_GENERATION else f"{self.published} {self.switch}"

    @property
    def last_published(self) -> Generation | None:
        """The published generation; if the pointer was lost, the one that the list has as published."""
        if self.published != FIRST_GENERATION:
            return self.get(self.published) or Generation(id=self.published, state=GenerationState.PUBLISHED)
        return next((known for known in self.generations if known.state == GenerationState.PUBLISHED), None)

    @property
    def written(self) -> tuple[str, ...]:
        """The generations to which pushes and erasures go, the published one last: all that may yet be published."""
        ended = (GenerationState.RETIRED, GenerationState.FAILED)
        others = (known.id for known in self.generations if known.state not in ended and known.id != self.published)
        return (*others, self.published)


def read_generations(access: Access, view: FeatureView) -> GenerationList:
    """Read the generations of a view, with rows, bytes and watermark of each.

    :raises OnlineDataError: when this package has not written what Redis holds.
    """
    (found,) = read_lists(access, [view])
    details = (
        access.command("HMGET", keyspace.generation_key(view, known.id), *DETAILS) for known in found.generations
    )
    known = zip(found.generations, details, strict=True)
    return replace(found, generations=tuple(with_details(view, each, reply) for each, reply in known))


def read_lists(access: Access, views: Sequence[FeatureView]) -> list[GenerationList]:
    """Read the generations of views of one project at one instant, without what their own hashes hold.

    :raises OnlineDataError: when this package has not written what Redis holds.
    """
    keys = [keyspace.published_key(views[0].project)]
    for view in views:
        keys += [keyspace.generations_key(view), keyspace.lease_key(view)]
    words = state_script("read_generations").call_in_full(keys, [view.name for view in views])
    seconds, microseconds, *parts = access.command(*words)
    now = EPOCH + timedelta(seconds=int(seconds), microseconds=int(microseconds))
    return [list_from(view, now, *parts[3 * i : 3 * i + 3]) for i, view in enumerate(views)]


def read_on_primary(access: Access, command: str, key: str, *words: str | int) -> Any:
    """Return the reply to a command that reads a key, from the primary also if the client reads from replicas."""
    return access.command(*state_script("read_on_primary").call_in_full([key], [command, *words]))


def entry_text(generation: Generation) -> str:
    """Return a generation as the list holds it: JSON without what is unknown, and without what its own hash holds."""
    entry = {name: value for name, value in vars(generation).items() if name not in ("id", *DETAILS)}
    for name in INSTANTS:
        entry[name] = to_text(entry[name]) if entry[name] else None
    return json.dumps({name: value for name, value in entry.items() if value is not None})


def list_from(view: keyspace.Named, now: datetime, pointer: Any, builder: Any, words: Any) -> GenerationList:
    """Parse the generations of a view, without what their own hashes hold.

    :param pointer: the field of the view in the project's pointer.
    :param builder: the run that holds the lease.
    :param words: names and values of the list, in turns.
    :raises OnlineDataError: when this package has not written them.
    """
    pointed = published_from(view.project, pointer or None)
    published, switch = pointed.generation, pointed.switch
    with named(keyspace.generations_key(view)):
        fields = {text(name): text(value) for name, value in zip(words[::2], words[1::2], strict=True)}
        ids = sorted(name for name in fields if not name.startswith("@"))
        generations = tuple(_generation_from(each, fields[each]) for each in ids)
        hold = json_object(fields[HOLD]) if HOLD in fields else None
        return GenerationList(
            published=published,
            # The list knows the number, too, so that it goes on after the loss of the pointer.
            switch=switch or max((known.switch or 0 for known in generations), default=0),
            hold=Hold(since=from_text(hold["since"]), by=hold.get("by")) if hold else None,
            needs_full=NEEDS_FULL in fields,
            builder=text(builder) or None,
            version=fields.get(VERSION),
            listed=from_text(fields[LISTED]) if LISTED in fields else None,
            read_at=now,
            generations=generations,
        )


def _generation_from(generation: str, stored: str) -> Generation:
    if generation != FIRST_GENERATION and not ID.fullmatch(generation):
        raise ValueError(f"{generation[:50]!r} is not a generation")
    entry = json_object(stored)
    known = {name: entry[name] for name in Generation.__dataclass_fields__ if name in entry and name not in DETAILS}
    for name, value in known.items():
        if not isinstance(value, TYPES.get(name, str)):
            raise TypeError(f"{generation}: {name} is {str(value)[:50]!r}")
    instants = {name: from_text(entry[name]) for name in INSTANTS if name in entry}
    return Generation(**{**known, **instants, "id": generation, "state": GenerationState(entry["state"])})


def with_details(view: keyspace.Named, generation: Generation, details: Sequence[Any]) -> Generation:
    """Return the generation with what its own hash holds.

    :param details: the values of :data:`DETAILS`.
    :raises OnlineDataError: when this package has not written them.
    """
    with named(keyspace.generation_key(view, generation.id)):
        rows, size, watermark = map(optional_text, details)
        return replace(
            generation,
            rows=count_from(rows) if rows else None,
            bytes=count_from(size) if size else None,
            watermark=from_text(watermark) if watermark else None,
        )
