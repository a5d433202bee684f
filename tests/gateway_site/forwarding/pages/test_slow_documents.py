"""Slow clients' documents, requested by three people, do not delay others.

Adversaries: one person with many things, a dependency that is slow, a page of another site. The
gateway is a process of its own; nobody else is slow, so nobody else may wait.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import requests

from tests.gateway_site.support.client_tokens import REDIRECT_URI
from tests.gateway_site.support.documents import (
    DocumentGateway,
    address_of,
    running_document_gateway,
)
from tests.support.waiting import wait_until

SLOW_PEOPLE = 3
A_MINUTE, AT_ONCE = 6, 2  # fetches that each of them may cause
MANY_PEOPLE = 9  # who fill the 16 places that programs have
WAIT = 60  # seconds until a request is given up


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with running_document_gateway(
        folder, people=2 * (SLOW_PEOPLE + 1) + MANY_PEOPLE + 1
    ) as running:
        yield running


def open_page(gateway: DocumentGateway, client_id: str, key: str | None) -> int:
    """Open the consent page as if its address was typed; return the status."""
    with requests.Session() as browser:
        browser.trust_env = False
        if key:
            browser.cookies.set("gateway_sessionid", key)
        address, headers = gateway.authorization(client_id), {"Sec-Fetch-Site": "none"}
        response = browser.get(address, headers=headers, allow_redirects=False, timeout=WAIT)
        return response.status_code


def register(gateway: DocumentGateway) -> str:
    metadata = {"client_name": "Registered", "redirect_uris": [REDIRECT_URI]}
    response = requests.post(f"{gateway.url}/oauth/register", json=metadata, timeout=WAIT)
    client_id: str = response.json()["client_id"]
    return client_id


def refresh(gateway: DocumentGateway, client_id: str) -> str:
    form = {"grant_type": "refresh_token", "refresh_token": "gwr_" + "a" * 32}
    response = requests.post(
        f"{gateway.url}/oauth/token", form | {"client_id": client_id}, timeout=WAIT
    )
    error: str = response.json()["error"]
    return error


@contextmanager
def threads_for(gateway: DocumentGateway, count: int) -> Iterator[ThreadPoolExecutor]:
    """Return threads for requests; slow documents come at the end at the latest."""
    gateway.site.release.clear()
    with ThreadPoolExecutor(count) as threads:
        try:
            yield threads
        finally:
            gateway.site.release.set()


@pytest.mark.slow
@pytest.mark.parametrize("one_document", [True, False])
def test_slow_documents_of_three_people_delay_nobody_else(
    gateway: DocumentGateway, one_document: bool
) -> None:
    *slow_people, another = [gateway.keys.pop() for _ in range(SLOW_PEOPLE + 1)]
    with threads_for(gateway, SLOW_PEOPLE * A_MINUTE) as threads:
        asked: list[Future[int]] = []
        for number, key in enumerate(slow_people * A_MINUTE):
            client_id = address_of("/slow/client" if one_document else f"/slow/{number}")
            asked.append(threads.submit(open_page, gateway, client_id, key))
        refused = SLOW_PEOPLE * (A_MINUTE - AT_ONCE)
        wait_until(lambda: sum(each.done() for each in asked) >= refused, "the rest is refused")
        assert {each.result() for each in asked if each.done()} == {503}
        waiting = [each for each in asked if not each.done()]
        assert len(waiting) == SLOW_PEOPLE * AT_ONCE
        assert open_page(gateway, address_of(f"/quick/{one_document}"), another) == 200
        assert not any(each.done() for each in waiting)
        gateway.site.release.set()
        assert {each.result() for each in waiting} == {200}


@pytest.mark.slow
def test_slow_document_of_many_people_delays_no_program_and_no_other_consent(
    gateway: DocumentGateway,
) -> None:
    registered, slow = register(gateway), address_of("/slow/of-many")
    *slow_people, another = [gateway.keys.pop() for _ in range(MANY_PEOPLE + 1)]
    with threads_for(gateway, MANY_PEOPLE * AT_ONCE) as threads:
        asked = [threads.submit(open_page, gateway, slow, key) for key in slow_people * AT_ONCE]
        wait_until(lambda: "/slow/of-many" in gateway.site.asked, "it is being fetched")
        assert refresh(gateway, registered) == "invalid_grant"
        assert open_page(gateway, registered, another) == 200
        assert open_page(gateway, slow, None) == 302
        assert not any(each.done() for each in asked)
        gateway.site.release.set()
        assert {each.result() for each in asked} == {200}
