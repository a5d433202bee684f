"""The repository that is cached with the services."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.core.signing import JSONSerializer

from sessions_kms.format.serializer import Codec, codec_of
from sessions_kms.services import services
from sessions_kms.session.repository import CACHED_MAX, SessionRepository


def test_one_is_kept_for_these_services_and_this_serializer(make_fake: Callable[..., Any]) -> None:
    make_fake()
    codec, made = codec_of(JSONSerializer), services()
    cached = SessionRepository.cached(made, codec)
    assert SessionRepository.cached(made, codec) is cached
    assert SessionRepository.cached(made, Codec(JSONSerializer)) is not cached


def test_other_services_have_their_own(make_fake: Callable[..., Any]) -> None:
    make_fake()
    codec, made = codec_of(JSONSerializer), services()
    cached = SessionRepository.cached(made, codec)
    for other in (made.of_grants, replace(made)):
        assert other.repositories is not made.repositories
        assert SessionRepository.cached(other, codec) is not cached
        assert SessionRepository.cached(other, codec).services is other


def test_what_is_kept_is_bounded(make_fake: Callable[..., Any]) -> None:
    make_fake()
    made = services()
    for _ in range(3 * CACHED_MAX):
        SessionRepository.cached(made, Codec(JSONSerializer))
        assert len(made.repositories) <= CACHED_MAX
