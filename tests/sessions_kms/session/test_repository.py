"""The repository that is kept with the services: one for all who load, and none of others'."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.core.signing import JSONSerializer

from sessions_kms.format.serializer import Codec, codec_of
from sessions_kms.services import services
from sessions_kms.session.repository import KEPT_MAX, Repository


def test_one_is_kept_for_these_services_and_this_serializer(make_fake: Callable[..., Any]) -> None:
    make_fake()
    codec, made = codec_of(JSONSerializer), services()
    kept = Repository.of(made, codec)
    assert Repository.of(made, codec) is kept
    assert Repository.of(made, Codec(JSONSerializer)) is not kept


def test_other_services_have_their_own(make_fake: Callable[..., Any]) -> None:
    make_fake()
    codec, made = codec_of(JSONSerializer), services()
    kept = Repository.of(made, codec)
    for other in (made.of_grants, replace(made)):
        assert other.kept is not made.kept
        assert Repository.of(other, codec) is not kept
        assert Repository.of(other, codec)._services is other


def test_what_is_kept_is_bounded(make_fake: Callable[..., Any]) -> None:
    make_fake()
    made = services()
    for _ in range(3 * KEPT_MAX):
        Repository.of(made, Codec(JSONSerializer))
        assert len(made.kept) <= KEPT_MAX
