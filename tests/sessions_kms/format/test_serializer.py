"""The codec: Django's own serializer to the byte, and a project's as Django would use it."""

import math
import random
from functools import partial, wraps
from typing import Any

import pytest
from django.core.signing import JSONSerializer

from sessions_kms.exceptions import InvalidRecord
from sessions_kms.format.serializer import DjangosJSON, codec_of
from tests.sessions_kms.support.quiet import shown_frames
from tests.support.cases import each_case

LEAVES: list[Any] = [
    *("", "a", 'quoted "', "\\", "\x00\x1f\x7f\n", "é", "\u2028", "\ud800", "😀", "</script>"),
    *(0, -1, 2**70, True, False, None, 0.1, -0.0, 1e300, math.inf, -math.inf),
]
UNWRITTEN: list[Any] = [{"a": {1}}, {"a": b"bytes"}, {("a", 1): 1}, {"a": object()}]
UNREAD = [
    b"",
    b"{",
    b"\xef\xbb\xbf{}",
    b"\xff",
    b"{} {}",
    b"'a'",
    b'{"a": 01}',
    b"nul",
    b"[" * 9999,
]


class Stateful:
    """A serializer that keeps what it is given, as Django lets it."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.kept: Any = None

    def dumps(self, obj: dict[str, Any]) -> bytes:
        assert self.kept is None
        self.kept = obj
        return JSONSerializer().dumps(obj)

    def loads(self, data: bytes) -> Any:
        assert self.kept is None
        self.kept = data
        return JSONSerializer().loads(data)


def random_value(chance: random.Random, depth: int = 3) -> Any:
    kind = chance.choice("ldv" if depth else "v")
    if kind == "l":
        return [random_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    if kind == "d":
        keys = chance.choices(["a", "é", '"', 1, None, True, 1.5], k=3)
        return {key: random_value(chance, depth - 1) for key in keys}
    return chance.choice(LEAVES)


def outcome(of: Any, *args: Any) -> object:
    try:
        return of(*args)
    except Exception as exc:  # noqa: BLE001 - which one is compared
        return type(exc)


def test_djangos_own_is_written_and_read_to_the_byte() -> None:
    chance = random.Random(1)  # noqa: S311 - the same in each run
    for _ in range(2000):
        content = {"a": random_value(chance), "é": random_value(chance)}
        written = JSONSerializer().dumps(content)
        assert DjangosJSON().dumps(content) == written
        assert repr(DjangosJSON().loads(written)) == repr(JSONSerializer().loads(written))


@each_case("data", [b" {}", b"{}\n", b"\r\n\t {} \n", b"\x0c{}", b"{}\xa0", b" []", b"1 "])
def test_blanks_are_read_as_django_reads_them(data: bytes) -> None:
    assert outcome(DjangosJSON().loads, data) == outcome(JSONSerializer().loads, data)


@pytest.mark.parametrize("content", UNWRITTEN, ids=["set", "bytes", "key", "object"])
def test_what_django_does_not_write_is_not_written(content: Any) -> None:
    assert outcome(JSONSerializer().dumps, content) is TypeError
    assert outcome(DjangosJSON().dumps, content) is TypeError


@each_case("data", UNREAD, ids=lambda data: repr(data[:12]))
def test_what_django_does_not_read_is_not_read(data: bytes) -> None:
    refused = outcome(JSONSerializer().loads, data)
    assert isinstance(refused, type)
    assert outcome(DjangosJSON().loads, data) is refused
    with pytest.raises(InvalidRecord) as told:
        codec_of(JSONSerializer).loads(data)
    assert told.value.reason == "payload"


def test_one_codec_serves_all_sessions_and_each_use_has_a_serializer_of_its_own() -> None:
    codec = codec_of(Stateful)
    assert codec_of(Stateful) is codec is not codec_of(JSONSerializer)
    before = Stateful.made
    assert codec.loads(codec.dumps({"a": 1})) == {"a": 1}
    assert codec.loads(codec.dumps({"b": 2})) == {"b": 2}
    assert Stateful.made == before + 4


def test_djangos_own_that_a_project_has_patched_is_as_patched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(JSONSerializer, "dumps", lambda _, obj: b"%d" % len(obj))
    assert codec_of(JSONSerializer).dumps({"a": 1}) == b"1"


def test_it_is_as_patched_from_when_it_is_and_for_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = codec_of(JSONSerializer)  # that of a session which is there before
    assert codec.loads(codec.dumps({"a": 1})) == {"a": 1}
    with monkeypatch.context() as patched:
        patched.setattr(JSONSerializer, "dumps", lambda _, obj: b"%d" % len(obj))
        patched.setattr(JSONSerializer, "loads", lambda _, data: {"read": data})
        assert (codec.dumps({"a": 1}), codec.loads(b"1")) == (b"1", {"read": b"1"})
    assert codec.loads(codec.dumps({"a": 1})) == {"a": 1}


@pytest.mark.parametrize("before", [True, False])
def test_transparent_patch_of_the_serializer_is_used(
    monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    def dumps(self: JSONSerializer, obj: Any) -> bytes:
        return b" " + djangos(self, obj)

    djangos = JSONSerializer.dumps
    codec_of.cache_clear()
    if before:
        codec_of(JSONSerializer)
    monkeypatch.setattr(JSONSerializer, "dumps", wraps(djangos)(dumps))
    assert codec_of(JSONSerializer).dumps({"a": 1}) == b' {"a":1}'
    codec_of.cache_clear()


def test_faulty_serializer_does_not_invalidate_sessions() -> None:
    def unmade() -> Any:
        raise OSError("its schema cannot be read")

    codec = codec_of(unmade)
    with pytest.raises(OSError, match="schema"):
        codec.loads(b"{}")
    with pytest.raises(OSError, match="schema"):
        codec.dumps({})


def test_what_only_makes_a_serializer_is_a_projects_own() -> None:
    assert codec_of(partial(Stateful)).dumps({"a": 1}) == b'{"a":1}'


def test_subclass_of_djangos_is_a_projects_own() -> None:
    class Shouting(JSONSerializer):
        def dumps(self, obj: Any) -> bytes:
            return super().dumps(obj).upper()

    assert codec_of(Shouting).dumps({"a": "b"}) == b'{"A":"B"}'


def test_frames_with_content_are_hidden() -> None:
    from sessions_kms.format import serializer

    assert shown_frames(lambda: DjangosJSON().dumps({"a": object()}), serializer) == set()
    assert shown_frames(lambda: codec_of(JSONSerializer).loads(b"{"), serializer) == set()
