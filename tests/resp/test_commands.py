from __future__ import annotations

import redis
from hypothesis import given
from hypothesis import strategies as st
from online_features.resp.commands import CommandForm, packed

words = st.text(st.characters(exclude_categories=["Cs"])) | st.binary()


@given(st.lists(words), st.lists(words))
def test_commands_are_packed_as_redis_py_packs_them(others: list[str | bytes], keys: list[str | bytes]) -> None:
    form = CommandForm("HMGET", tuple(others))
    expected = redis.Connection().pack_commands([form.on(key) for key in keys])  # type: ignore[no-untyped-call]
    assert packed((form, key) for key in keys) == b"".join(expected)
