"""Staff in Django's admin, and its session pages."""

import re
from html import unescape
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission, User
from django.test import Client

from sessions_kms.backend import SessionStore
from sessions_kms.services import id_of
from tests.oauth.support.shown import shown_fields
from tests.sessions_kms.support.sessions import save_session

SESSIONS = "/admin/sessions_kms/session/"


class Staff:
    """A signed-in user with some permissions; with all of them by default."""

    def __init__(self, name: str, *permissions: str, superuser: bool = False) -> None:
        model: type[User] = get_user_model()
        self.user = model.objects.create_user(
            name, f"{name}@example.com", is_staff=True, is_superuser=superuser
        )
        self.user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        assert self.user.user_permissions.count() == len(permissions)
        self.client = Client()
        self.client.force_login(self.user, "django.contrib.auth.backends.ModelBackend")

    @property
    def session_id(self) -> str:
        """Return the id of the current session's record."""
        return id_of(self.client.session.session_key or "")

    def get(self, path: str = "", *, status: int = 200) -> str:
        """Return a page of sessions as HTML."""
        response = self.client.get(SESSIONS + path, follow=True)
        assert response.status_code == status, response.content
        return _text(response)

    def post(self, path: str = "", form: dict[str, Any] | None = None, *, status: int = 200) -> str:
        """Post a form, and return the page after the redirect."""
        response = self.client.post(
            SESSIONS + path, shown_fields(self.user.pk) | (form or {"post": "yes"}), follow=True
        )
        assert response.status_code == status, response.content
        return _text(response)


def sign_in_staff(user: Any, **content: Any) -> SessionStore:
    """Store a session of a user."""
    return save_session(str(getattr(user, "pk", user)), **content)


def record_id(session: SessionStore) -> str:
    return id_of(session.session_key or "")


def rows(page: str) -> list[str]:
    """Return the text of each row of the list."""
    body = re.search(r"<tbody>(.*?)</tbody>", page, re.DOTALL)
    found = re.findall(r"<tr>(.*?)</tr>", body[1], re.DOTALL) if body else []
    return [" ".join(unescape(re.sub("<[^>]+>", " ", row)).split()) for row in found]


def link(page: str, text: str) -> str:
    """Return the query of the link with this text."""
    found = re.search(rf'href="([^"]*)"[^>]*>{re.escape(text)}<', page)
    assert found is not None, text
    return unescape(found[1])


def messages(page: str) -> list[str]:
    """Return the messages on a page."""
    block = re.search(r'<ul class="messagelist">(.*?)</ul>', page, re.DOTALL)
    found = re.findall(r"<li[^>]*>(.*?)</li>", block[1], re.DOTALL) if block else []
    return [unescape(each) for each in found]


def _text(response: Any) -> str:
    return str(response.content.decode()).replace("\N{NO-BREAK SPACE}", " ")
