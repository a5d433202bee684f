"""Going to a provider and back, however it answers."""

from typing import Any
from urllib.parse import urlencode

from django.test import Client

from tests.oauth.support.fixtures import Visitor
from tests.providers.stubs import Stub
from tests.providers.stubs.apple import form_of

FORM = "application/x-www-form-urlencoded"


def sign_in(visitor: Visitor, at: Stub, **form: str) -> Any:
    """Be the browser: go there, come back by GET or by a posted form; return the callback's."""
    started = visitor.start(at.name, **form)
    assert started.status_code == 302, started.content
    response = at.browse(started["Location"])
    if response.status_code == 302:
        return visitor.client.get(response.headers["Location"])
    assert response.status_code == 200, response.text
    led_on = post(response.text)
    assert led_on.status_code == 303, led_on.content
    return visitor.client.get(led_on["Location"])


def post(page: str) -> Any:
    """Post what a page of another site posts: browsers add no `Lax` cookie."""
    address, fields = form_of(page)
    browser = Client(enforce_csrf_checks=True)
    return browser.post(address, urlencode(fields), content_type=FORM)
