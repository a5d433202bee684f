"""Merging one request's changes into the version that another saved."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.serializers import JSONSerializer
from hypothesis import given
from hypothesis import strategies as st

from sessions_kms.format.serializer import codec_of
from sessions_kms.session import merging
from sessions_kms.session.merging import (
    Changes,
    changed_keys,
    merge,
    update_content,
    update_session,
)
from sessions_kms.session.repository import LoadedVersion
from tests.sessions_kms.support.quiet import shown_frames
from tests.support.cases import each_case


def dumps(session: dict[str, Any]) -> bytes:
    return json.dumps(session).encode()


Session = dict[str, Any]
values = st.recursive(
    st.integers(0, 2) | st.booleans() | st.none() | st.sampled_from(["", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("pq"), inner),
    max_leaves=4,
)
# Few keys and few values, so that the three often agree and often do not.
sessions = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


@given(sessions, sessions, sessions)
def test_merge_of_each_key_gives_the_expected_value(
    base: Session, ours: Session, theirs: Session
) -> None:
    expected = {}
    for key in base.keys() | ours.keys() | theirs.keys():
        before, mine, yours = (
            dumps({"": d[key]}) if key in d else None for d in (base, ours, theirs)
        )
        if mine == before:
            wanted, source = yours, theirs  # This request did not touch it.
        elif before is not None and yours is None:
            wanted, source = None, theirs  # Deleted there: it stays deleted.
        else:
            wanted, source = mine, ours  # Changed, added or deleted here.
        if wanted is not None:
            expected[key] = source[key]
    assert dumps_sorted(merge(base, ours, theirs, dumps)) == dumps_sorted(expected)


def dumps_sorted(session: Session) -> str:
    return json.dumps(session, sort_keys=True)


@given(sessions, sessions)
def test_without_another_writer_merging_gives_ours(base: Session, ours: Session) -> None:
    assert dumps_sorted(merge(base, ours, base, dumps)) == dumps_sorted(ours)


@given(sessions, sessions)
def test_without_changes_of_ours_merging_gives_theirs(base: Session, theirs: Session) -> None:
    assert dumps_sorted(merge(base, base, theirs, dumps)) == dumps_sorted(theirs)


@given(sessions, sessions, sessions)
def test_merging_again_changes_nothing(base: Session, ours: Session, theirs: Session) -> None:
    merged = merge(base, ours, theirs, dumps)
    assert dumps_sorted(merge(theirs, merged, theirs, dumps)) == dumps_sorted(merged)


@given(sessions, sessions, sessions)
def test_arguments_are_left_as_they_are(base: Session, ours: Session, theirs: Session) -> None:
    before = copy.deepcopy((base, ours, theirs))
    merge(base, ours, theirs, dumps)
    assert (base, ours, theirs) == before


@given(sessions, sessions)
def test_changed_keys_are_those_whose_serialized_values_differ(
    base: Session, ours: Session
) -> None:
    changed = changed_keys(base, ours, dumps)
    for key in base.keys() | ours.keys():
        same = key in base and key in ours and dumps({"": base[key]}) == dumps({"": ours[key]})
        assert (key in changed) != same


@each_case(
    ("base", "ours", "theirs", "merged"),
    [
        pytest.param({}, {"a": 1}, {"b": 1}, {"a": 1, "b": 1}, id="both added"),
        pytest.param({}, {"a": 1}, {"a": 2}, {"a": 1}, id="both added one"),
        pytest.param({"a": 1}, {}, {"a": 2}, {}, id="deleted here"),
        pytest.param({"a": 1}, {"a": 2}, {}, {}, id="deleted there"),
        pytest.param({"a": 1}, {}, {}, {}, id="deleted on both sides"),
        pytest.param({"a": [1]}, {"a": [1, 2]}, {"a": [1]}, {"a": [1, 2]}, id="nested"),
        pytest.param({"a": 1}, {"a": True}, {"a": 1}, {"a": True}, id="equal but of another type"),
        pytest.param({"a": 1}, {"a": 1}, {}, {}, id="deleted there, untouched here"),
    ],
)
def test_merge_by_example(base: Session, ours: Session, theirs: Session, merged: Session) -> None:
    assert dumps_sorted(merge(base, ours, theirs, dumps)) == dumps_sorted(merged)


@pytest.mark.parametrize("value", ["x", 2, True, None])
def test_unchanged_plain_value_is_not_serialized(value: object) -> None:
    def refuse(session: Session) -> bytes:
        raise AssertionError(session)

    assert changed_keys({"a": value}, {"a": value}, refuse) == set()


def test_frames_with_session_content_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Any:
        raise TypeError

    nothing: Any = None
    assert shown_frames(lambda: changed_keys({"a": [1]}, {"a": [2]}, fail), merging) == set()
    assert shown_frames(lambda: Changes({}, {}, set()).merge_into(nothing), merging) == set()
    monkeypatch.setattr(merging, "changed_keys", fail)
    assert shown_frames(lambda: merge({}, {}, {}, dumps), merging) == set()


# Sessions in use

CODEC = codec_of(JSONSerializer)


def version(user_id: str | None, **content: Any) -> LoadedVersion:
    if user_id is not None:
        content[USER_ID] = user_id
    return LoadedVersion(
        session_key="k" * 32,
        id="i",
        created_at=0,
        revision=1,
        salt=b"",
        ttl=0,
        payload=CODEC.dumps(content),
        user_id=user_id,
    )


@pytest.mark.parametrize("changes", [False, True], ids=["as it was", "changed"])
def test_session_in_use_gets_what_others_added_changed_and_deleted(changes: bool) -> None:
    session: Session = {"kept": [1], "changed": [1], "deleted": [1], "ours": 1}
    since = CODEC.dumps(session)
    kept = session["kept"]
    if changes:
        session["ours"] = 2
    theirs = {"kept": [1], "changed": [2], "added": [3], "ours": 1}
    update_content(CODEC, session, since, theirs)
    ours = 2 if changes else 1
    assert session == {"kept": [1], "changed": [2], "added": [3], "ours": ours}
    assert session["kept"] is kept  # Other code may have it, and change it later.


def test_key_that_a_thread_takes_out_meanwhile_stops_nothing() -> None:
    class Shared(dict[str, Any]):
        """A session that another thread empties as soon as its keys are listed."""

        def __iter__(self) -> Iterator[str]:
            names = list(super().__iter__())
            self.clear()
            return iter(names)

    session = Shared(gone=1)
    update_content(CODEC, session, b'{"gone":1}', {"added": 1})
    assert session == {"added": 1}


@pytest.mark.parametrize("user_id", [None, "7"])
def test_session_in_use_follows_a_newer_version_of_its_user(user_id: str | None) -> None:
    base, theirs = version(user_id, a=1), version(user_id, a=2)
    session = CODEC.loads(base.payload)
    update_session(CODEC, session, user_id, base, theirs)
    assert session == CODEC.loads(theirs.payload)


@pytest.mark.parametrize(
    ("base", "theirs", "ours"),
    [("7", "7", "8"), ("7", "8", "7"), ("8", "7", "7"), (None, "7", "7")],
)
def test_session_in_use_does_not_follow_the_version_of_another_user(
    base: str | None, theirs: str, ours: str
) -> None:
    loaded, newer = version(base, a=1), version(theirs, a=2)
    session = {USER_ID: ours, "a": 1}
    with pytest.raises(UpdateError):
        update_session(CODEC, session, ours, loaded, newer)
    assert session == {USER_ID: ours, "a": 1}


def test_frames_of_a_session_in_use_are_hidden() -> None:
    nothing: Any = None
    one = version("7")
    for call in (
        lambda: update_session(CODEC, nothing, "7", one, one),
        lambda: update_content(CODEC, {"a": [1]}, b"{}", nothing),
        lambda: merging.get_theirs(CODEC, one, "7", one, nothing),
        lambda: merging.merge_since(CODEC, b"", {}, {}),
    ):
        assert shown_frames(call, merging) == set()
