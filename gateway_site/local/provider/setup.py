"""The rows this provider needs: its two people and its one client.

Run at each start, after `migrate`; changes nothing that is already so.
"""

from allauth.account.models import EmailAddress
from allauth.idp.oidc.models import Client
from django.contrib.auth.models import User

from gateway_site.local.people import PEOPLE, Person
from gateway_site.local.provider import settings


def prepare() -> None:
    for person in PEOPLE:
        _ensure_person(person)
    _ensure_client()


def _ensure_person(person: Person) -> None:
    user, created = User.objects.get_or_create(
        username=person.username,
        defaults={
            "pk": person.subject,
            "email": person.email,
            "first_name": person.first_name,
            "last_name": person.last_name,
        },
    )
    # A password set again would end the person's sessions here: its hash is in them.
    if created or not user.check_password(person.password):
        user.set_password(person.password)
        user.save()
    EmailAddress.objects.update_or_create(
        user=user, email=person.email, defaults={"verified": True, "primary": True}
    )


def _ensure_client() -> None:
    client = Client.objects.filter(pk=settings.CLIENT_ID).first() or Client(id=settings.CLIENT_ID)
    client.name = "The gateway on this machine"
    if not client.check_secret(settings.CLIENT_SECRET):
        client.set_secret(settings.CLIENT_SECRET)
    client.set_scopes(["openid", "profile", "email"])
    client.set_default_scopes(["openid"])
    client.set_grant_types([Client.GrantType.AUTHORIZATION_CODE, Client.GrantType.REFRESH_TOKEN])
    client.set_response_types([Client.ResponseType.CODE])
    client.set_redirect_uris(settings.REDIRECT_URIS)
    client.set_post_logout_redirect_uris(settings.POST_LOGOUT_REDIRECT_URIS)
    client.save()
