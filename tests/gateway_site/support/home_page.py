"""The home page, and what is on its cards."""

from tests.gateway_site.support.page_requests import Element, assert_accessible
from tests.oauth.support.fixtures import Visitor


def home(visitor: Visitor) -> Element:
    response = visitor.client.get("/")
    assert response.status_code == 200
    return assert_accessible(response.content.decode())


def fields(form: Element) -> dict[str, str]:
    return {field.attributes["name"]: field.attributes["value"] for field in form.all("input")}


def cards(page: Element) -> dict[str, Element]:
    named = {each.attributes["aria-labelledby"]: each for each in page.all("section")}
    items = named["connections"].all("li")
    found = [item for item in items if item.attributes.get("class") == "card"]
    return {card.all("h2")[0].text: card for card in found}


def accounts(card: Element) -> list[str]:
    return [e.text for e in card.all("li") if "account" in e.attributes.get("class", "").split()]


def status(card: Element) -> str:
    (state,) = [e for e in card.all("span") if "state" in e.attributes.get("class", "").split()]
    return state.text


def buttons(card: Element) -> list[str]:
    return [each.text for each in card.all("button") if each.attributes["type"] == "submit"]


def links(card: Element) -> dict[str, str]:
    return {link.text: link.attributes["href"] for link in card.all("a")}


def status_message(page: Element) -> str:
    (found,) = [e for e in page.all("span") if e.attributes.get("role") == "status"]
    return " ".join([*(part.text for part in found.all("span")), *"".join(found.own_text).split()])
