"""What a request does with its session, as coroutines, and what may be stored afterwards."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.exceptions import SessionMoved
from sessions_kms.session.links import LINKS
from tests.sessions_kms.model.world import World
from tests.sessions_kms.support.stacks import another_process

Content = dict[str, Any]

NEW = {"a": 1, USER_ID: "7", LINKS: ["1" * 64]}

WITHIN = 20  # seconds, after which something counts as hung


def save_content(**content: Any) -> str:
    """Store a session, in this thread; give its key."""
    session = SessionStore()
    session._session_cache = content
    run_sync(session._save())
    return str(session.session_key)


async def open_session(key: str, **changes: Any) -> SessionStore:
    """Load a session, and change it."""
    session = SessionStore(key)
    content = await session._get_content()
    content.update(changes)
    return session


class Story:
    """One thing that a request does, and what may stand afterwards."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.key: str | None = save_content(**NEW)
        self.session = SessionStore(self.key)

    async def prepare(self) -> None:
        """Do what comes before it, which is not cancelled."""

    async def steps(self) -> Any:
        """Do it."""
        raise NotImplementedError

    def may_stand(self) -> Iterator[Content | None]:
        """Yield what the session of this key may hold afterwards, whatever was cancelled."""
        yield NEW

    def check(self) -> None:
        """See that the request itself was left as it may be, when it was cancelled."""


class Loads(Story):
    async def steps(self) -> Any:
        return await self.session._load_session()


class Creates(Story):
    """A session created under an unknown key is as good as not created."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.session = SessionStore()
        self.session._session_cache = dict(NEW)

    async def steps(self) -> Any:
        return await self.session._save()

    def check(self) -> None:
        assert self.session.session_key is None


class Saves(Story):
    theirs: ClassVar[Content] = {}

    async def prepare(self) -> None:
        self.session = await open_session(str(self.key), mine=1)

    async def steps(self) -> Any:
        return await self.session._save()

    def may_stand(self) -> Iterator[Content | None]:
        yield NEW | self.theirs
        yield NEW | self.theirs | {"mine": 1}


class SavesOverAnother(Saves):
    theirs: ClassVar[Content] = {"theirs": 1}

    async def prepare(self) -> None:
        await super().prepare()
        with another_process():
            await (await open_session(str(self.key), theirs=1))._save()


class SavesWithoutALook(Saves):
    """Replaces what it never looked at."""

    async def prepare(self) -> None:
        self.session = SessionStore(self.key)
        self.session._session_cache = {"mine": 1}

    def may_stand(self) -> Iterator[Content | None]:
        yield NEW
        yield {"mine": 1}


class ChangesItsKey(Story):
    theirs: ClassVar[Content] = {}

    async def prepare(self) -> None:
        self.session = await open_session(str(self.key), mine=1)

    async def steps(self) -> Any:
        return await self.session._cycle()

    def may_stand(self) -> Iterator[Content | None]:
        yield NEW | self.theirs
        yield None


class ChangesItsKeyOverAnother(ChangesItsKey):
    theirs: ClassVar[Content] = {"theirs": 1}

    async def prepare(self) -> None:
        await super().prepare()
        with another_process():
            await (await open_session(str(self.key), theirs=1))._save()


class Ends(Story):
    async def prepare(self) -> None:
        self.session = await open_session(str(self.key))

    async def steps(self) -> Any:
        return await self.session._delete()

    def may_stand(self) -> Iterator[Content | None]:
        yield NEW
        yield None


def request_with_key(key: str | None) -> HttpRequest:
    request = HttpRequest()
    if key:
        request.COOKIES[settings.SESSION_COOKIE_NAME] = key
    return request


async def check_next_request(story: Story, found: Content | None) -> None:
    """See the next request read and change what there is, and this one do what is left to do."""
    if found is None:
        assert await SessionStore(story.key)._load_session() is None or story.key is None
        return
    await (await open_session(str(story.key), later=1))._save()
    stands = story.world.truth(str(story.key))
    assert stands is not None
    assert stands.content == found | {"later": 1}
    try:
        await story.session._save()
    except (SessionMoved, UpdateError):
        assert story.session.session_key != story.key


async def wait_until_true(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN):
        while not is_so():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)
