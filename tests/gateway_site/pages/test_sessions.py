"""The page of a person's sessions: listed for that person only, and ended on request."""

from dataclasses import replace
from datetime import datetime

import pytest
from django.test import Client
from pytest_django import Settings

from sessions_kms.format.item_types import session_id
from sessions_kms.storage.queries import Page
from tests.gateway_site.support.page_requests import Element, assert_accessible
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.shown import shown_fields
from tests.sessions_kms.support.memory_dynamodb import refuse_write
from tests.sessions_kms.support.stacks import Stack, install

LIST = "/sessions/"
END = "/sessions/end/"
END_OTHERS = "/sessions/end-others/"
BOB = {"sub": "2002", "email": "bob@example.com", "name": "Bob"}


def sign_in_at(provider: FakeProvider) -> Visitor:
    visitor = Visitor()
    visitor.sign_in(provider)
    return visitor


def own_id(visitor: Visitor) -> str:
    key = visitor.session.session_key
    assert key is not None
    return session_id("django", key)


def is_signed_in(visitor: Visitor) -> bool:
    return "Signed in as" in visitor.client.get("/").content.decode()


def section(visitor: Visitor, address: str = LIST) -> Element:
    response = visitor.client.get(address)
    assert response.status_code == 200
    page = assert_accessible(response.content.decode())
    (found,) = [e for e in page.all("section") if e.attributes["aria-labelledby"] == "sessions"]
    return found


def rows(visitor: Visitor, address: str = LIST) -> list[Element]:
    return section(visitor, address).all("li")


def shown_names(listed: list[Element]) -> list[str]:
    """Return the beginnings of the ids that are listed."""
    return [row.all("code")[0].text for row in listed]


def links(found: Element) -> dict[str, str]:
    return {link.text: link.attributes["href"] for link in found.all("a")}


def count_text(visitor: Visitor, address: str = LIST) -> str:
    """Return what a page of the list says of their number."""
    (found,) = [
        each
        for each in section(visitor, address).all("span")
        if each.attributes.get("class") == "muted count"
    ]
    assert found.text.split()[0] == str(len(rows(visitor, address)))
    return found.text


def messages(visitor: Visitor, address: str, form: dict[str, str] | None = None) -> str:
    sent = shown_fields(visitor.user_id) | (form or {})
    response = visitor.client.post(address, sent, follow=True)
    assert response.redirect_chain == [(LIST, 302)]
    assert "no-store" in response["Cache-Control"]
    page = assert_accessible(response.content.decode())
    (status,) = [e for e in page.all("div") if e.attributes.get("role") == "status"]
    return status.text


def forget_messages(*visitors: Visitor) -> None:
    """Look at the page once, which shows what the sign-in has to say."""
    for visitor in visitors:
        visitor.client.get("/")


def test_this_browser_is_listed_first_and_then_the_newest(corp: FakeProvider, store: Stack) -> None:
    first = sign_in_at(corp)
    store.clock.advance(600)
    second = sign_in_at(corp)
    store.clock.advance(600)
    third = sign_in_at(corp)
    made = [own_id(each)[:8] for each in (first, third, second)]

    listed = rows(first)

    assert shown_names(listed) == made
    assert ["This browser" in row.text for row in listed] == [True, False, False]
    assert [button.text for row in listed for button in row.all("button")] == [
        "Sign out",
        f"End session {made[1]}",
        f"End session {made[2]}",
    ]
    listed.pop(0)
    created, written, ends = (
        datetime.fromisoformat(time.attributes["datetime"]).timestamp()
        for time in listed[0].all("dl")[0].all("time")
    )
    assert created == written == int(store.clock())
    assert ends - created == 7 * 24 * 3600


FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:139.0) Gecko/20100101 Firefox/139.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
    " Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)


def sign_in_by(user_agent: str, provider: FakeProvider) -> Visitor:
    visitor = Visitor()
    visitor.client.defaults["HTTP_USER_AGENT"] = user_agent
    visitor.sign_in(provider)
    return visitor


def test_rows_show_browser_and_provider(corp: FakeProvider, store: Stack) -> None:
    laptop, phone = sign_in_by(FIREFOX, corp), sign_in_by(IPHONE, corp)
    headings = [row.all("h2")[0].text for row in rows(laptop)]
    assert headings == ["Firefox on Windows This browser", "Safari on iPhone"]
    assert all("Signed in with Corp" in row.text for row in rows(phone))
    kept = repr(store.items())
    assert not [word for word in (FIREFOX, "Firefox", "127.0.0.1") if word in kept]
    assert set(phone.session["_about"].values()) == {"Safari", "iPhone", "corp"}


def test_rows_without_labels_show_times(corp: FakeProvider, store: Stack) -> None:
    here = sign_in_by(FIREFOX, corp)
    item = store.items()[f"about#django#{own_id(here)}"]
    for broken in (
        item | {"version": {"N": "2"}},
        item | {"salt": {"B": b"x" * 16}},
        {"id": item["id"]},
    ):
        store.put_item(broken)
        (row,) = rows(here)
        assert row.all("h2")[0].text == f"Session {own_id(here)[:8]} This browser"
        assert "Corp" not in row.text
        assert len(row.all("dl")[0].all("time")) == 3
    store.put_item(item)
    assert "Firefox" in rows(here)[0].text


def test_what_a_session_tells_is_shown_as_text(signed_in: Visitor) -> None:
    session = signed_in.session
    session["_about"] = {"browser": "<b>x</b>", "provider": "<i>gone</i>"}
    session.save()
    content = signed_in.client.get(LIST).content.decode()
    assert "&lt;b&gt;x&lt;/b&gt;" in content
    assert "&lt;i&gt;gone&lt;/i&gt;" in content


def test_only_session_offers_nothing_else_to_end(signed_in: Visitor) -> None:
    assert [button.text for button in section(signed_in).all("button")] == ["Sign out"]


def test_another_persons_sessions_are_not_listed(corp: FakeProvider) -> None:
    ada = sign_in_at(corp)
    corp.person = BOB
    bob = sign_in_at(corp)
    assert [own_id(ada)[:8] in row.text for row in rows(ada)] == [True]
    assert [own_id(bob)[:8] in row.text for row in rows(bob)] == [True]


def test_no_session_key_is_on_the_page(corp: FakeProvider) -> None:
    visitors = [sign_in_at(corp), sign_in_at(corp)]
    content = visitors[0].client.get(LIST).content.decode()
    assert not [v for v in visitors if str(v.session.session_key) in content]


def test_one_session_is_ended_from_another(corp: FakeProvider) -> None:
    here, there, elsewhere = sign_in_at(corp), sign_in_at(corp), sign_in_at(corp)
    forget_messages(here)

    said = messages(here, END, {"session": own_id(there)})

    assert said == "The session has been ended."
    assert is_signed_in(here)
    assert not is_signed_in(there)
    assert is_signed_in(elsewhere)
    assert len(rows(here)) == 2


def test_session_of_another_person_is_not_ended(corp: FakeProvider) -> None:
    ada = sign_in_at(corp)
    corp.person = BOB
    bob = sign_in_at(corp)
    forget_messages(bob)

    said = messages(bob, END, {"session": own_id(ada)})

    assert said == "There is no such session. It may have ended already."
    assert is_signed_in(ada)


@pytest.mark.parametrize("ended_id", ["", "x", "A" * 43, "data-key#django#0", "\0", "é" * 43])
def test_what_names_no_session_ends_none(signed_in: Visitor, store: Stack, ended_id: str) -> None:
    forget_messages(signed_in)
    before = store.items()
    assert "no such session" in messages(signed_in, END, {"session": ended_id})
    assert set(store.items()) == set(before)


def test_form_without_a_session_ends_none(signed_in: Visitor) -> None:
    forget_messages(signed_in)
    assert "no such session" in messages(signed_in, END)
    assert is_signed_in(signed_in)


def test_present_session_is_ended_by_signing_out(signed_in: Visitor) -> None:
    (row,) = rows(signed_in)
    (form,) = row.all("form")
    assert form.attributes["action"] == "/accounts/logout/"

    response = signed_in.client.post(END, {"session": own_id(signed_in)})

    assert response["Location"] == "/accounts/logout/"
    assert is_signed_in(signed_in)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (0, "There was no other session to end."),
        (1, "One other session has been ended."),
        (3, "3 other sessions have been ended."),
    ],
)
def test_all_others_are_ended_and_counted(corp: FakeProvider, others: int, said: str) -> None:
    here = sign_in_at(corp)
    there = [sign_in_at(corp) for _ in range(others)]
    forget_messages(here)

    assert messages(here, END_OTHERS) == said

    assert is_signed_in(here)
    assert not [visitor for visitor in there if is_signed_in(visitor)]


def test_ending_all_others_spares_other_people(corp: FakeProvider) -> None:
    ada = sign_in_at(corp)
    corp.person = BOB
    bob = sign_in_at(corp)
    messages(bob, END_OTHERS)
    assert is_signed_in(ada)


def test_page_says_that_tokens_of_ended_sessions_are_not_revoked(corp: FakeProvider) -> None:
    here, _ = sign_in_at(corp), sign_in_at(corp)
    assert "cannot be revoked at the provider from here" in section(here).text


@pytest.mark.parametrize("address", [END, END_OTHERS])
def test_get_ends_nothing(corp: FakeProvider, address: str) -> None:
    here, there = sign_in_at(corp), sign_in_at(corp)
    assert here.client.get(address, {"session": own_id(there)}).status_code == 405
    assert is_signed_in(there)


@pytest.mark.parametrize("address", [END, END_OTHERS])
def test_csrf_token_is_needed(corp: FakeProvider, address: str) -> None:
    here, there = sign_in_at(corp), sign_in_at(corp)
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = here.client.cookies
    assert strict.post(address, {"session": own_id(there)}).status_code == 403
    assert is_signed_in(there)


@pytest.mark.parametrize("address", [END, END_OTHERS])
def test_stranger_is_sent_to_sign_in(corp: FakeProvider, address: str) -> None:
    there = sign_in_at(corp)
    response = Client().post(address, {"session": own_id(there)})
    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/")
    assert is_signed_in(there)


def test_unreadable_list_is_a_notice_on_a_complete_page(signed_in: Visitor, store: Stack) -> None:
    store.dynamodb.on("Query user", refuse_write)

    found = section(signed_in)

    (notice,) = [e for e in found.all("p") if e.attributes.get("role") == "status"]
    assert "cannot be listed right now" in notice.text
    assert found.all("li") == []
    assert found.all("form") == []


def test_end_of_unknown_outcome_is_not_reported_as_success(
    corp: FakeProvider, signed_in: Visitor, store: Stack
) -> None:
    there = sign_in_at(corp)
    forget_messages(signed_in)
    store.dynamodb.on("Query user", refuse_write)
    assert "unknown whether" in messages(signed_in, END_OTHERS)
    assert is_signed_in(there)


def test_session_that_the_index_does_not_show_yet_is_listed(
    corp: FakeProvider, visitor: Visitor, store: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object, **__: object) -> Page:
        return Page([], None)

    visitor.sign_in(corp)
    monkeypatch.setattr(store.services.queries, "owned", nothing)
    assert shown_names(rows(visitor)) == [own_id(visitor)[:8]]


@pytest.fixture
def three_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions_kms.operations.listing.OWNED_ROWS", 3)


def test_older_sessions_are_on_further_pages(
    corp: FakeProvider, store: Stack, three_a_page: None
) -> None:
    made: list[str] = []
    for _ in range(7):
        here = sign_in_at(corp)
        made.insert(0, own_id(here)[:8])
        store.clock.advance(60)
    address, seen = LIST, []
    for _ in range(3):
        found = section(here, address)
        seen += shown_names(found.all("li"))
        assert ("Newest sessions" in links(found)) == (address != LIST)
        assert [button.text for button in found.all("button")][-1] == "End all other sessions"
        assert "too new" not in found.text
        address = LIST + links(found).get("Older sessions", "")
    assert seen == made
    assert address == LIST


def test_ended_sessions_are_on_no_page_and_hide_no_older_one(
    corp: FakeProvider, store: Stack, three_a_page: None
) -> None:
    here = sign_in_at(corp)
    store.clock.advance(60)
    for _ in range(4):
        there = sign_in_at(corp)
        store.put_item(store.items()[own_id(there)] | {"ttl": {"N": str(int(store.clock()))}})
    first = section(here)
    assert shown_names(first.all("li")) == [own_id(here)[:8]]
    older = section(here, LIST + links(first)["Older sessions"])
    assert older.all("li") == []
    assert "All of these have ended." in older.text


def test_link_to_a_page_is_good_for_its_own_person_only(
    corp: FakeProvider, three_a_page: None
) -> None:
    adas = [sign_in_at(corp) for _ in range(4)]
    link = links(section(adas[0]))["Older sessions"]
    corp.person = BOB
    bob = sign_in_at(corp)
    forget_messages(bob)

    response = bob.client.get(LIST + link, follow=True)

    assert response.redirect_chain == [(LIST, 302)]
    page = response.content.decode()
    assert "no longer valid" in page
    assert own_id(bob)[:8] in page
    assert not [ada for ada in adas if own_id(ada)[:8] in page]


@pytest.mark.parametrize("token", ["", "x", "x:y:z", "\0", "é" * 99, "x" * 5000])
def test_garbled_link_shows_the_newest_page(signed_in: Visitor, token: str) -> None:
    forget_messages(signed_in)
    response = signed_in.client.get(LIST, {"after": token})
    assert (response.status_code, response["Location"]) == (302, LIST)


def test_stranger_sees_no_list() -> None:
    assert Client().get(LIST)["Location"].startswith("/accounts/login/")


def test_list_says_how_many_there_are(corp: FakeProvider) -> None:
    first = sign_in_at(corp)
    assert count_text(first) == "1 session"
    second = sign_in_at(corp)
    assert count_text(first) == "2 sessions"
    second.client.post("/accounts/logout/")
    assert count_text(first) == "1 session"


def test_list_counts_no_session_that_has_idled_out(
    corp: FakeProvider, store: Stack, settings: Settings
) -> None:
    settings.SESSION_COOKIE_AGE = 600
    sign_in_at(corp)
    store.clock.advance(601)
    here = sign_in_at(corp)
    assert len(store.sessions()) == 2
    assert count_text(here) == "1 session"


def test_page_of_a_longer_list_says_how_many_it_shows(
    corp: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_kms.operations.listing.OWNED_ROWS", 2)
    for _ in range(3):
        here = sign_in_at(corp)
    assert count_text(here).endswith(" on this page")
    older = links(section(here))["Older sessions"]
    assert count_text(here, LIST + older).endswith(" on this page")


@pytest.mark.parametrize("time", ["createdAt", "updatedAt"])
def test_forged_record_of_a_time_to_come_is_not_listed(
    signed_in: Visitor, store: Stack, time: str
) -> None:
    _forge(store, own_id(signed_in), **{time: "9" * 30}, keyPeriod="0", ttl="9" * 31)
    assert [own_id(signed_in)[:8] in row.text for row in rows(signed_in)] == [True]


def test_forged_record_without_an_end_is_listed_as_ending_at_the_latest_time(
    corp: FakeProvider, visitor: Visitor, store: Stack
) -> None:
    install(replace(store.services, config=replace(store.config, absolute_timeout=None)))
    visitor.sign_in(corp)
    _forge(store, own_id(visitor), ttl="9" * 31)
    ends = [row.all("time")[-1].attributes["datetime"] for row in rows(visitor)]
    assert len(ends) == 2
    assert max(ends).startswith("9999-01-01")


def _forge(store: Stack, of: str, **changed: str) -> None:
    """Put a copy of a record with other numbers, as another user of the table may."""
    numbers = {name: {"N": value} for name, value in changed.items()}
    store.put_item({**store.items()[of], "id": {"S": "A" * 43}, **numbers})
