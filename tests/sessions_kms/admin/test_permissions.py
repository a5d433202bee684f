"""Who may see sessions in Django's admin, and who may end them."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.test import Client

from sessions_kms.backend import SessionStore
from tests.oauth.support.shown import shown_fields
from tests.sessions_kms.support.sessions import is_alive
from tests.sessions_kms.support.stacks import Stack
from tests.sessions_kms.support.staff import SESSIONS, Staff, record_id, sign_in_staff

pytestmark = pytest.mark.django_db
CONFIRM = {"post": "yes"}
MATRIX = {
    "none": ((), False, False),
    "another": (("view_user", "delete_user"), False, False),
    "view": (("view_session",), True, False),
    "end": (("end_session",), True, True),
    "both": (("view_session", "end_session"), True, True),
}
ENDING = ("", "delete", "end-of-user", "end-before")


def request_of(way: str, session: SessionStore) -> tuple[str, dict[str, Any]]:
    """Return the address and the form by which a session is ended in a way."""
    target = record_id(session)
    requests: dict[str, tuple[str, dict[str, Any]]] = {
        "": ("", {"action": "delete_selected", "_selected_action": [target]} | CONFIRM),
        "delete": (f"{quote(target)}/delete/", CONFIRM),
        "end-of-user": ("end-of-user/?user=7", CONFIRM),
        "end-before": ("end-before/", {"before_0": "2027-01-15", "before_1": "08:00"} | CONFIRM),
    }
    return requests[way]


@pytest.fixture(params=[*MATRIX, "superuser"])
def staff(request: pytest.FixtureRequest, fake: Stack) -> tuple[Staff, bool, bool]:
    """Give somebody, whether that one may see sessions, and whether end them."""
    if request.param == "superuser":
        return Staff("root", superuser=True), True, True
    permissions, may_view, may_end = MATRIX[request.param]
    return Staff("staff", *permissions), may_view, may_end


def test_sessions_are_seen_by_those_who_may(staff: tuple[Staff, bool, bool]) -> None:
    person, may_view, may_end = staff
    session = sign_in_staff("7")
    for path in ("", "?user=7", f"?q={record_id(session)}", f"{quote(record_id(session))}/change/"):
        page = person.get(path, status=200 if may_view else 403)
        page = page.replace(f"{SESSIONS}{path}", "")  # its own address, for the switch of languages
        assert (record_id(session)[:8] in page) is may_view
        assert ("End " in page) is may_end
    index = person.client.get("/admin/").content.decode()
    assert (f'href="{SESSIONS}"' in index) is may_view


@pytest.mark.parametrize("way", ENDING)
def test_sessions_are_ended_by_those_who_may(staff: tuple[Staff, bool, bool], way: str) -> None:
    person, may_view, may_end = staff
    session = sign_in_staff("7")
    path, form = request_of(way, session)
    response = person.client.post(SESSIONS + path, form | shown_fields(person.user.pk))
    if way == "" and may_view and not may_end:
        assert response.status_code == 200  # The list, since there is no such action for them.
    else:
        assert response.status_code == (302 if may_end else 403)
    assert is_alive(session) is not may_end
    assert LogEntry.objects.count() == may_end


@pytest.mark.parametrize("way", ENDING[1:])
def test_confirmation_is_shown_to_those_who_may_end(
    staff: tuple[Staff, bool, bool], way: str
) -> None:
    person, _may_view, may_end = staff
    path, _form = request_of(way, sign_in_staff("7"))
    assert person.client.get(SESSIONS + path).status_code == (200 if may_end else 403)


@pytest.mark.parametrize("path", ["", "x/change/", "x/delete/", "end-of-user/", "end-before/"])
def test_others_are_led_to_the_sign_in(fake: Stack, path: str) -> None:
    visitor = Client()
    response = visitor.get(SESSIONS + path)
    assert (response.status_code, response["Location"].partition("?")[0]) == (302, "/admin/login/")
    staff = Staff("staff", "view_session", "end_session")
    staff.user.is_staff = False
    staff.user.save()
    assert staff.client.get(SESSIONS + path).status_code == 302


def test_nobody_adds_or_changes_sessions(fake: Stack) -> None:
    root, session = Staff("root", superuser=True), sign_in_staff("7")
    before = fake.items()
    assert root.client.get(f"{SESSIONS}add/").status_code == 403
    assert root.client.post(f"{SESSIONS}add/", {"id": "x" * 43}).status_code == 403
    path = f"{SESSIONS}{quote(record_id(session))}/change/"
    assert root.client.post(path, {"id": record_id(session)}).status_code == 403
    assert fake.items() == before


@pytest.mark.parametrize("may_view", [True, False])
def test_users_are_linked_for_those_who_may_view_them(fake: Stack, may_view: bool) -> None:
    more = ("view_user",) if may_view else ()
    staff = Staff("staff", "view_session", *more)
    for path in ("", f"{quote(staff.session_id)}/change/"):
        page = staff.get(path)
        assert "staff" in page
        assert (f"/admin/auth/user/{staff.user.pk}/change/" in page) is may_view


def test_permissions_are_the_two_of_our_own() -> None:
    kind = ContentType.objects.get(app_label="sessions_kms", model="session")
    found = Permission.objects.filter(content_type=kind).values_list("codename", flat=True)
    assert sorted(found) == ["end_session", "view_session"]
