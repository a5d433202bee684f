"""Sessions in Django's admin, as somebody with every permission sees and ends them."""

import base64
import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.test import Client

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.format.item_types import owner_of
from sessions_kms.operations import listing as inspection
from tests.sessions_kms.conftest import MakeStack
from tests.sessions_kms.support.granted import grant_access
from tests.sessions_kms.support.sessions import is_alive
from tests.sessions_kms.support.stacks import Stack
from tests.sessions_kms.support.staff import (
    SESSIONS,
    Staff,
    link,
    messages,
    record_id,
    rows,
    sign_in_staff,
)

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.parametrize("make_stack", ["fake", "servers"], indirect=True),
]
TOKEN = "token-3f1c9a7e5b2d4c6a"
CONFIRM = {"post": "yes"}


@pytest.fixture
def root(stack: Stack) -> Staff:
    return Staff("root", superuser=True)


@pytest.fixture
def ada(stack: Stack) -> Any:
    return get_user_model().objects.create_user("ada", "ada@example.com")


def log() -> list[str]:
    entries = LogEntry.objects.order_by("pk")
    assert all(entry.content_type.model == "session" for entry in entries if entry.content_type)
    assert not [entry for entry in entries if entry.object_id]
    return [entry.object_repr for entry in entries]


def select(*sessions: SessionStore, **more: str) -> dict[str, Any]:
    chosen = [record_id(session) for session in sessions]
    return {"action": "delete_selected", "_selected_action": chosen, **more}


def test_row_shows_the_plaintext_parts_of_a_record(root: Staff, ada: Any) -> None:
    session = sign_in_staff(ada, data="x" * 2000)
    [row] = [row for row in rows(root.get()) if row.startswith(record_id(session)[:8])]
    assert row == (
        f"{record_id(session)[:8]} ada Jan. 15, 2027, 8 a.m. UTC Jan. 15, 2027, 8 a.m. UTC"
        " Jan. 22, 2027, 8 a.m. UTC"
    )
    page = root.get(f"{quote(record_id(session))}/change/")
    assert "2.4 KB" in page
    assert "version 1" in page
    assert "the data key of Jan. 15, 2027, midnight UTC (--key-period 1799971200)" in page


def test_page_of_the_list_is_sorted_by_the_last_write(root: Staff, ada: Any, stack: Stack) -> None:
    made = []
    for _ in range(4):
        stack.clock.advance(600)
        made.append(sign_in_staff(ada))
    stack.clock.advance(600)
    made[1]["x"] = 1
    made[1].save()
    expected = [record_id(made[each])[:8] for each in (1, 3, 2, 0)]
    assert [row[:8] for row in rows(root.get()) if row[:8] in expected] == expected


def test_own_present_session_is_marked(root: Staff, ada: Any) -> None:
    sign_in_staff(ada)
    marked = [row for row in rows(root.get()) if "(this session)" in row]
    assert [row[:8] for row in marked] == [root.session_id[:8]]


def test_anonymous_session_has_no_user(root: Staff) -> None:
    anonymous = SessionStore()
    anonymous.create()
    assert [row.split()[1] for row in rows(root.get()) if "root" not in row] == ["nobody"]
    page = root.get(f"{quote(record_id(anonymous))}/change/")
    assert "nobody" in page
    assert ">None<" not in page


def test_deleted_user_is_shown_by_id(root: Staff) -> None:
    sign_in_staff("4711")
    assert [row.split()[1] for row in rows(root.get()) if "root" not in row] == ["4711"]


def test_pages_of_the_whole_table_show_each_session_once(
    root: Staff, ada: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "ROWS", 4)
    made = {record_id(sign_in_staff(ada))[:8] for _ in range(10)} | {root.session_id[:8]}
    page = root.get()
    seen = [row[:8] for row in rows(page)]
    while "Next page" in page:
        page = root.get(link(page, "Next page"))
        seen += [row[:8] for row in rows(page)]
        assert link(page, "First page") == "?"
    assert (sorted(seen), len(seen)) == (sorted(made), 11)


def test_page_stays_stable_while_sessions_are_ended(
    root: Staff, ada: Any, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "ROWS", 4)
    made = {record_id(sign_in_staff(ada)) for _ in range(10)} | {root.session_id}
    page = root.get()
    first = {each for each in made if each[:8] in page}
    for each in first - {root.session_id}:
        stack.delete_item(each)
    second = root.get(link(page, "Next page"))
    assert len(rows(second)) == 4
    assert not any(each[:8] in row for row in rows(second) for each in first)


@pytest.mark.parametrize("text", ["ada", "ada@example.com", "ADA@Example.com", " ada ", "pk"])
def test_sessions_of_a_user_are_found_newest_first(
    root: Staff, ada: Any, stack: Stack, text: str
) -> None:
    first = sign_in_staff(ada)
    stack.clock.advance(60)
    second = sign_in_staff(ada)
    page = root.get(f"?q={ada.pk if text == 'pk' else text}")
    expected = [record_id(second)[:8], record_id(first)[:8]]
    assert [row[:8] for row in rows(page)] == expected
    assert "Sessions of ada, newest first." in page


def test_further_sessions_of_a_user_are_on_the_next_page(
    root: Staff, ada: Any, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "OWNED_ROWS", 2)
    made: list[str] = []
    for _ in range(3):
        made.insert(0, record_id(sign_in_staff(ada))[:8])
        stack.clock.advance(1)
    page = root.get("?q=ada")
    assert [row[:8] for row in rows(page)] == made[:2]
    page = root.get(link(page, "Next page"))
    assert [row[:8] for row in rows(page)] == made[2:]
    assert link(page, "First page") == f"?user={ada.pk}"


def test_ambiguous_name_asks_which_user(root: Staff, ada: Any) -> None:
    other = get_user_model().objects.create_user(str(ada.pk), "ADA@example.com")
    session = sign_in_staff(other)
    for text in (str(ada.pk), "ada@example.com"):
        page = root.get(f"?q={text}")
        assert rows(page) == []
        assert link(page, f"ada ({ada.pk})") == f"?user={ada.pk}"
    page = root.get(link(page, f"{ada.pk} ({other.pk})"))
    assert [row[:8] for row in rows(page)] == [record_id(session)[:8]]


def test_deleted_user_may_have_sessions(root: Staff) -> None:
    session = sign_in_staff("gone")
    page = root.get("?q=gone")
    assert "This user no longer exists" in page
    assert [row[:8] for row in rows(page)] == [record_id(session)[:8]]
    assert rows(root.get("?q=never-there")) == []


@pytest.mark.parametrize("text", ["9" * 40, "é", "x" * 3000, "-1", "%00", "?user=%00", "1e3"])
def test_unknown_user_name_finds_nothing(root: Staff, ada: Any, text: str) -> None:
    page = root.get(text if text.startswith("?") else f"?q={text}")
    assert not [row for row in rows(page) if "ada" in row]


def test_session_is_found_by_its_id(root: Staff, ada: Any) -> None:
    session = sign_in_staff(ada)
    sign_in_staff(ada)
    page = root.get(f"?q={record_id(session)}")
    assert [row[:8] for row in rows(page)] == [record_id(session)[:8]]
    assert "Next page" not in page


@pytest.mark.parametrize(
    "token", ["x", "e30:1abc:x", "not-before#django", "a" * 5000, "other", "%F0%9F%92%A9", "\x00"]
)
def test_forged_page_token_shows_the_first_page(
    root: Staff, ada: Any, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "ROWS", 2)
    monkeypatch.setattr(inspection, "OWNED_ROWS", 1)
    sign_in_staff(ada)
    sign_in_staff(ada)
    if token == "other":  # Good, but of another listing.
        token = link(root.get(f"?user={ada.pk}"), "Next page").partition("after=")[2]
    response = root.client.get(f"{SESSIONS}?after={token}", follow=True)
    assert response.redirect_chain == [(f"{SESSIONS}?e=1", 302)]
    page = response.content.decode()
    assert len(rows(page)) == 2
    assert "no longer valid" in messages(page)[0]


def test_page_of_a_session_shows_no_more_than_its_record_says(root: Staff, ada: Any) -> None:
    session = sign_in_staff(ada, provider_token=TOKEN)
    page = root.get(f"{quote(record_id(session))}/change/")
    assert record_id(session) in page
    assert f'href="/admin/auth/user/{ada.pk}/change/"' in page
    assert "Jan. 22, 2027, 8 a.m." in page
    assert "provider_token" not in page
    assert "Holds" not in page


def test_page_of_a_session_shows_its_labels(root: Staff, ada: Any) -> None:
    telling = sign_in_staff(ada, _about={"browser": "Firefox", "system": "<b>"})
    assert "browser: Firefox<br>system: &lt;b&gt;" in root.get(
        f"{quote(record_id(telling))}/change/"
    )
    root.client.defaults["HTTP_ACCEPT_LANGUAGE"] = "de"
    german = root.get(f"{quote(record_id(telling))}/change/")
    assert "Browser: Firefox<br>System: &lt;b&gt;" in german
    root.client.defaults["HTTP_ACCEPT_LANGUAGE"] = "en"
    silent = root.get(f"{quote(record_id(sign_in_staff(ada)))}/change/")
    assert "not known" in silent


def test_page_of_own_session_shows_its_content(root: Staff) -> None:
    session = root.client.session
    session["provider_token"] = TOKEN
    session.save()
    page = root.get(f"{quote(root.session_id)}/change/")
    assert "_auth_user_backend, _auth_user_hash, _auth_user_id, provider_token" in page
    assert session["_auth_user_hash"] not in page
    assert f"{quote(root.session_id)}/delete/" not in page


def test_pages_show_no_session_key_token_or_key_material(
    root: Staff, ada: Any, stack: Stack
) -> None:
    session, anonymous = sign_in_staff(ada, provider_token=TOKEN), SessionStore()
    anonymous["provider_token"] = TOKEN
    anonymous.save()
    own = root.client.session
    own["provider_token"] = TOKEN
    own.save()
    data_key = run_sync(stack.services.sealing_key())
    secrets = [TOKEN, own["_auth_user_hash"], data_key.plaintext.hex(), repr(data_key.plaintext)]
    secrets += [str(each.session_key) for each in (session, anonymous, own)]
    for item in stack.sessions().values():
        blobs = [value["B"] for value in item.values() if "B" in value]
        secrets += [base64.b64encode(each).decode()[:20] for each in [*blobs, data_key.plaintext]]
        secrets += [each.hex() for each in blobs]
    end = f"{quote(record_id(session))}/delete/"
    pages = [
        root.get(path)
        for path in (
            *("", "?q=ada", f"?q={record_id(session)}", end, f"end-of-user/?user={ada.pk}"),
            *(f"{quote(record_id(each))}/change/" for each in (session, anonymous)),
            *("end-before/", f"{quote(root.session_id)}/change/"),
        )
    ]
    pages += [root.post("", select(session, anonymous, index="0")), root.post(end)]
    assert not [secret for secret in secrets for page in pages if secret in page]


def test_missing_session_shows_a_warning(root: Staff, stack: Stack) -> None:
    run_sync(stack.services.sealing_key())
    for each in ("x" * 43, "data-key#django#1799971200", "_23"):
        assert "Gateway administration" in root.get(f"{quote(each)}/change/")
        page = root.get(f"{quote(each)}/delete/")
        assert messages(page)[-1].startswith("There is no such session")


def test_one_session_is_ended_after_a_question(root: Staff, ada: Any) -> None:
    session, other = sign_in_staff(ada), sign_in_staff(ada)
    page = root.get(f"{quote(record_id(session))}/delete/")
    assert f"End session {record_id(session)[:8]}" in page
    assert is_alive(session)
    page = root.post(f"{quote(record_id(session))}/delete/")
    assert messages(page) == ["1 session ended."]
    assert (is_alive(session), is_alive(other)) == (False, True)
    assert log() == [record_id(session)[:8]]
    page = root.post(f"{quote(record_id(session))}/delete/")
    assert messages(page) == ["There is no such session. It may have ended already."]
    assert len(log()) == 1


def test_own_present_session_is_not_ended_here(root: Staff, ada: Any) -> None:
    other = sign_in_staff(root.user)
    page = root.post(f"{quote(root.session_id)}/delete/")
    assert messages(page) == ["This is your own current session. Log out to end it."]
    form = {"action": "delete_selected", "_selected_action": [root.session_id, record_id(other)]}
    page = root.post("", form | {"index": "0"})
    assert "1 session will end" in page
    assert "Your own session is not ended." in page
    root.post("", form | CONFIRM)
    assert not is_alive(other)
    assert log() == [record_id(other)[:8]]
    root.get()


def test_selected_sessions_are_ended_after_a_question(root: Staff, ada: Any) -> None:
    chosen, other = [sign_in_staff(ada), sign_in_staff("gone")], sign_in_staff(ada)
    page = root.post("", select(*chosen, index="0"))
    assert "2 sessions will end" in page
    assert all(record_id(each)[:8] in page for each in chosen)
    assert all(map(is_alive, chosen))
    page = root.post("", select(*chosen, **CONFIRM))
    assert messages(page) == ["2 sessions ended."]
    assert (any(map(is_alive, chosen)), is_alive(other)) == (False, True)
    assert sorted(log()) == sorted(record_id(each)[:8] for each in chosen)


def test_selection_that_ended_meanwhile_or_names_other_items_ends_nothing(
    root: Staff, ada: Any, stack: Stack
) -> None:
    run_sync(stack.services.sealing_key())
    before = stack.items()
    names = [*before, "not-before#django", "x" * 43]
    form = {"action": "delete_selected", "_selected_action": names}
    form["_selected_action"] = [name for name in names if name != root.session_id]
    assert messages(root.post("", form | {"index": "0"}))[0].startswith(
        "There are no sessions to end"
    )
    assert messages(root.post("", form | CONFIRM)) == ["0 sessions ended."]
    assert stack.items() == before
    assert log() == []


def test_action_without_a_selection_or_a_name_does_nothing(root: Staff, ada: Any) -> None:
    session = sign_in_staff(ada)
    page = root.post("", {"action": "delete_selected", "index": "0"})
    assert "must be selected" in messages(page)[0]
    root.post("", select(session, index="0") | {"action": "drop_tables"})
    assert is_alive(session)


def test_all_sessions_of_a_user_are_ended_after_a_question(root: Staff, ada: Any) -> None:
    sessions, other = [sign_in_staff(ada) for _ in range(3)], sign_in_staff("8")
    address = link(root.get("?q=ada"), "End all sessions of this user").removeprefix(SESSIONS)
    assert "ada will be signed out everywhere." in root.get(address)
    assert all(map(is_alive, sessions))
    assert messages(root.post(address)) == ["3 sessions of ada ended."]
    assert (any(map(is_alive, sessions)), is_alive(other)) == (False, True)
    assert log() == ["all sessions of ada"]
    assert messages(root.post(address)) == ["0 sessions of ada ended."]


def test_ones_own_present_session_outlives_the_others(root: Staff) -> None:
    other = sign_in_staff(root.user)
    address = f"end-of-user/?user={root.user.pk}"
    assert "Your own session is not ended." in root.get(address)
    assert messages(root.post(address)) == ["1 session of root ended."]
    assert not is_alive(other)


def test_sessions_before_a_time_are_ended_after_a_question(root: Staff, stack: Stack) -> None:
    early = sign_in_staff("7")
    stack.clock.advance(3600)
    late, staff = sign_in_staff("7"), Staff("staff", "end_session")
    form = {"before_0": "2027-01-15", "before_1": "08:30:00"}
    page = staff.post("end-before/", form)
    assert "End all sessions created up to Jan. 15, 2027, 8:30 a.m. UTC" in page
    assert is_alive(early)
    page = staff.post("end-before/", form | CONFIRM)
    assert "end on every server within a minute" in messages(page)[0]
    assert (is_alive(early), is_alive(late)) == (False, True)
    assert run_sync(stack.services.not_before_items.get()) == 1_800_001_800
    assert log() == ["all sessions created up to Jan. 15, 2027, 8:30 a.m. UTC"]


def test_date_and_time_have_names_for_screen_readers(root: Staff) -> None:
    for page in (root.get("end-before/"), root.post("end-before/", {"before_0": "soon"})):
        inputs = re.findall("<input [^>]*name=.before_[01][^>]*>", page)
        names = [re.findall('aria-label="([^"]+)"', each) for each in inputs]
        assert names == [["Date"], ["Time"]]


@pytest.mark.parametrize(
    ("date", "time"),
    [
        ("2027-01-15", "08:00:01"),
        ("9999-12-31", "23:59"),
        ("0001-01-01", "00:00"),
        ("1970-12-31", "23:59"),
        ("soon", "00:00"),
        ("", ""),
    ],
)
def test_time_that_has_not_passed_or_is_none_is_refused(
    root: Staff, stack: Stack, date: str, time: str
) -> None:
    form = {"before_0": date, "before_1": time} | CONFIRM
    page = root.post("end-before/", form)
    assert "Please correct the error" in page
    assert run_sync(stack.services.not_before_items.get()) == 0
    assert log() == []


def test_forms_need_a_csrf_token(root: Staff, ada: Any) -> None:
    session = sign_in_staff(ada)
    client = Client(enforce_csrf_checks=True)
    client.cookies = root.client.cookies
    forms: dict[str, dict[str, Any]] = {
        "": select(session, **CONFIRM),
        f"{quote(record_id(session))}/delete/": CONFIRM,
        f"end-of-user/?user={ada.pk}": CONFIRM,
        "end-before/": {"before_0": "2020-01-01", "before_1": "00:00"} | CONFIRM,
    }
    for path, form in forms.items():
        assert client.post(SESSIONS + path, form).status_code == 403
    assert is_alive(session)


def test_sessions_of_another_project_are_not_to_be_ended(
    make_stack: MakeStack, root: Staff, stack: Stack, ada: Any
) -> None:
    session = sign_in_staff(ada)
    item = stack.items()[record_id(session)]
    foreign = "f" * 43
    item |= {"id": {"S": foreign}, "owner": {"S": str(owner_of("other", ada.pk))}}
    stack.put_item(item)
    root.post(f"{quote(foreign)}/delete/")
    root.post("", {"action": "delete_selected", "_selected_action": [foreign]} | CONFIRM)
    assert foreign in stack.items()
    assert foreign[:8] not in root.get()
    assert log() == []


def test_grants_are_listed_alone_named_and_ended_never_opened(root: Staff, ada: Any) -> None:
    session = sign_in_staff(ada, _about={"browser": "Firefox", "provider": "Tool"})
    grant = grant_access("Tool <b>", user_id=str(ada.pk))
    everybody = root.get()
    assert "apps’ grants" in everybody  # noqa: RUF001
    [row] = rows(root.get("?grants=1"))
    assert row.startswith(grant[:8])
    assert "Tool <b>" in row
    assert "ada" in row
    assert any("Tool <b>" in row for row in rows(root.get(f"?user={ada.pk}")))
    assert any("Tool <b>" in row for row in rows(root.get(f"?q={grant}")))
    page = root.get(f"{quote(grant)}/change/")
    assert "mcp" in page
    assert "_auth_user" not in page
    root.post("", {"action": "delete_selected", "_selected_action": [grant]} | CONFIRM)
    assert rows(root.get("?grants=1")) == []
    assert is_alive(session)
    assert log() == [grant[:8]]
