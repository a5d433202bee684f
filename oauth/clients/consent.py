"""What a person allowed a client, as the consent page showed it: values only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Consent:
    """One client, one upstream, one code challenge.

    ``client_host`` is the host that the client's name was verified by, None where it is only
    claimed. ``scope`` is blank-separated (RFC 6749 section 3.3), ``resource`` the audience
    (RFC 8707), ``challenge`` that of the method S256 (RFC 7636).
    """

    client_id: str
    client_name: str
    client_host: str | None
    redirect_uri: str
    upstream: str
    resource: str
    scope: str
    challenge: str
