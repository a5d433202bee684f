"""Forms that grant access or are irreversible are ignored within a second of their page.

The adversary is a page of another site that gets a person to click twice, and opens ours under the
second click. It cannot read our pages or send requests in the person's name: the click is all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, User
from django.core.signing import Signer

from oauth.sign_in.click_delay import DELAY, FIELD, TOO_SOON
from sessions_kms.services import id_of
from tests.gateway_site.support.page_requests import parse
from tests.oauth.clients.support.app import App
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, sign_in_at
from tests.oauth.support.shown import shown_fields
from tests.sessions_kms.support.stacks import Stack

pytestmark = pytest.mark.django_db
ADMIN = "/admin/sessions_kms/session/"
YES = {"post": "yes"}
DEEDS = (
    "consent",
    "connect",
    "confirm",
    "end others",
    "end session",
    "end many",
    "end user",
    "end before",
    "delete group",
    "delete groups",
)
WRONG = ["", "x", "1800000000.000", "nan", "1800000000.000:AAAA", "\N{SNOWMAN}" * 2000]


@dataclass
class Deed:
    """What a form does: the page that shows it, the request that sends it, whether it is done."""

    page: str
    address: str
    form: dict[str, Any]
    is_done: Callable[[], bool]
    page_form: dict[str, Any] | None = None  # where the page answers a POST

    def show(self, visitor: Visitor) -> dict[str, str]:
        """Open the page; return the time that its form carries."""
        client = visitor.client
        if self.page_form is None:
            return time_in(client.get(self.page))
        return time_in(client.post(self.page, self.page_form))

    def do(self, visitor: Visitor, field: dict[str, str]) -> Any:
        return visitor.client.post(self.address, self.form | field)


def time_in(page: Any) -> dict[str, str]:
    """Return the time in the first form that has one."""
    fields = [each.attributes for each in parse(page.content.decode()).all("input")]
    return {FIELD: next(each["value"] for each in fields if each.get("name") == FIELD)}


@pytest.fixture(autouse=True)
def staff(ada: Visitor) -> None:
    User.objects.update(is_staff=True, is_superuser=True)


def is_led_to_a_provider(visitor: Visitor) -> bool:
    return len(visitor.session.get("socialaccount_states", {})) > 0


@pytest.fixture
def there(ada: Visitor, corp: FakeProvider) -> Visitor:
    """Ada's other browser."""
    return sign_in_at(corp)


def ways_to_be_led(ada: Visitor, app: App) -> dict[str, Deed]:
    """Return the deeds that give an app or an account access: they lead to a provider."""
    app.register()
    allow, login = app.address(), "/accounts/oidc/other/login/"
    confirm = f"{login}?process=connect"

    def is_done() -> bool:
        return is_led_to_a_provider(ada)

    return {
        "consent": Deed(allow, allow, {"decision": "allow"}, is_done),
        "connect": Deed("/", login, {"process": "connect"}, is_done),
        "confirm": Deed(confirm, confirm, {}, is_done),
    }


def ways_to_end(there: Visitor, store: Stack) -> dict[str, Deed]:
    """Return the deeds that end sessions."""
    target = id_of(there.client.session.session_key or "")
    delete, end_user = (
        f"{ADMIN}{quote(target)}/delete/",
        f"{ADMIN}end-of-user/?user={there.user_id}",
    )
    many = {"action": "delete_selected", "_selected_action": [target]}
    before = {"before_0": "2020-01-01", "before_1": "00:00"}

    def is_ended() -> bool:
        return there.user_id is None

    def is_before() -> bool:
        return any(key.startswith("not-before#") for key in store.items())

    return {
        "end others": Deed("/sessions/", "/sessions/end-others/", {}, is_ended),
        "end session": Deed(delete, delete, YES, is_ended),
        "end many": Deed(ADMIN, ADMIN, many | YES, is_ended, many),
        "end user": Deed(end_user, end_user, YES, is_ended),
        "end before": Deed(
            f"{ADMIN}end-before/", f"{ADMIN}end-before/", before | YES, is_before, before
        ),
    }


def ways_to_delete() -> dict[str, Deed]:
    """Return the deeds of Django's own admin."""
    group = Group.objects.create(name="auditors")
    groups, delete = "/admin/auth/group/", f"/admin/auth/group/{group.pk}/delete/"
    many = {"action": "delete_selected", "_selected_action": [group.pk]}

    def is_gone() -> bool:
        return not Group.objects.exists()

    return {
        "delete group": Deed(delete, delete, YES, is_gone),
        "delete groups": Deed(groups, groups, many | YES, is_gone, many),
    }


@pytest.fixture
def deeds(
    ada: Visitor, there: Visitor, app: App, other: FakeProvider, store: Stack
) -> dict[str, Deed]:
    return ways_to_be_led(ada, app) | ways_to_end(there, store) | ways_to_delete()


@pytest.fixture(params=DEEDS)
def deed(request: pytest.FixtureRequest, deeds: dict[str, Deed]) -> Deed:
    """Give each deed that has to wait."""
    assert deeds.keys() == set(DEEDS)
    return deeds[request.param]


def forged_or_foreign(ada: Visitor, store: Stack) -> list[str]:
    """Return times that no page of this person carried."""
    bob = User.objects.create_user("bob")
    at = f"{store.clock() - 60:.3f}"
    return [
        shown_fields(bob.pk)[FIELD],
        shown_fields(None)[FIELD],
        shown_fields(ada.user_id, ago=-60)[FIELD],
        Signer().sign(at),
        Signer(salt="oauth.click_delay").sign(at),
        Signer(salt=f"oauth.click_delay:{ada.user_id}", key="k" * 50).sign(at),
        shown_fields(ada.user_id)[FIELD].replace(":", ":x", 1),
    ]


def test_click_is_accepted_a_second_after_its_page_and_at_no_other_time(
    ada: Visitor, deed: Deed, store: Stack
) -> None:
    for value in [*WRONG, *forged_or_foreign(ada, store)]:
        assert deed.do(ada, {FIELD: value}).status_code in {200, 302}
        assert not deed.is_done(), value
    deed.do(ada, {})
    assert not deed.is_done()

    field = deed.show(ada)
    store.clock.advance(0.99 * DELAY)
    response = ada.client.post(deed.address, deed.form | field, follow=True)
    assert not deed.is_done()
    page = response.content.decode()
    assert TOO_SOON.partition(",")[0] in page
    again = time_in(response)  # the page, shown again with the present time
    assert again != field
    store.clock.advance(0.02 * DELAY)
    deed.do(ada, field)
    assert deed.is_done()


def test_delay_restarts_when_the_page_is_shown_again(
    ada: Visitor, deed: Deed, store: Stack
) -> None:
    response = ada.client.post(deed.address, deed.form | deed.show(ada), follow=True)
    again = time_in(response)
    deed.do(ada, again)
    assert not deed.is_done()
    store.clock.advance(1.01 * DELAY)
    deed.do(ada, again)
    assert deed.is_done()


def test_process_with_a_slow_clock_rejects_a_click_only_once(
    ada: Visitor, deed: Deed, store: Stack
) -> None:
    """The page says so, and restarts the delay by the clock of this process."""
    deed.show(ada)
    field = shown_fields(ada.user_id, ago=-86_400)
    response = ada.client.post(deed.address, deed.form | field, follow=True)
    again = time_in(response)
    store.clock.advance(1.01 * DELAY)
    deed.do(ada, again)
    assert deed.is_done()


def test_harmless_actions_have_no_click_delay(ada: Visitor, app: App, there: Visitor) -> None:
    app.register()
    denied = ada.client.post(app.address(), {"decision": "deny"})
    assert "access_denied" in denied.content.decode()
    session = id_of(there.client.session.session_key or "")
    ada.client.post("/sessions/end/", {"session": session})
    assert there.user_id is None
    ada.client.post("/accounts/logout/")
    assert ada.user_id is None
