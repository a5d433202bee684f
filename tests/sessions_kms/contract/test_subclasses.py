"""A project's own `SessionStore`: Django's methods call each other, overridden or not."""

from sessions_kms.backend import SessionStore
from tests.sessions_kms.support.stacks import Stack


class Telling(SessionStore):
    """A project's own, which notes what is called."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self.called: list[str] = []

    def create(self) -> None:
        self.called.append("create")
        super().create()

    def save(self, must_create: bool = False) -> None:
        self.called.append(f"save {must_create}")
        super().save(must_create)


def test_saving_a_new_session_creates_it_as_the_project_does(stack: Stack) -> None:
    session = Telling()
    session["a"] = 1
    session.save()
    assert session.called == ["save False", "create", "save True"]


def test_changing_the_key_of_a_new_session_creates_it_as_the_project_does(stack: Stack) -> None:
    session = Telling()
    session["a"] = 1
    session.cycle_key()
    assert session.called == ["create", "save True"]


async def test_so_does_an_asynchronous_view(stack: Stack) -> None:
    session = Telling()
    await session.aset("a", 1)
    await session.asave()
    assert session.called == ["save False", "create", "save True"]
