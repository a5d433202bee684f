"""The variables `IDENTITY_…`, and the settings made of them."""

from collections.abc import Iterable

from gateway_site.environment.parsers import parse_items
from gateway_site.environment.variable import InvalidValue, Variable, Variables, list_parser
from gateway_site.identity.keys import JWK, KeySet, SigningKey, load_public_key, load_signing_key
from gateway_site.identity.token import TokenIssuer


@list_parser
def parse_public_keys(text: str) -> tuple[JWK, ...]:
    """Return the public keys in PEM files."""
    keys = []
    for place, path in enumerate(parse_items(text), 1):
        try:
            keys.append(load_public_key(path))
        except InvalidValue as error:
            blank = "" if str(error).startswith(":") else " "
            raise InvalidValue(f": file {place}{blank}{error}") from None
    return tuple(keys)


class IdentityVariables(Variables):
    """The keys of tokens that the gateway signs for upstreams."""

    names_begin = "IDENTITY_"

    key_file = Variable[SigningKey | None](
        load_signing_key,
        None,
        "PEM file of the key that signs [identity tokens](guides/identity-tokens.md)",
    )
    published_key_files = Variable[tuple[JWK, ...]](
        parse_public_keys,
        (),
        "PEM files of [the next and former keys](guides/identity-tokens.md#change-the-key)",
    )

    def build_keys(self) -> KeySet:
        """Return the setting `IDENTITY_KEYS`. Raises ImproperlyConfigured."""
        return KeySet(self.key_file, self.published_key_files)

    def build_issuer(self, keys: KeySet, origin: str, users: Iterable[str]) -> TokenIssuer | None:
        """Return the setting `IDENTITY_TOKENS`; None if no upstream gets such tokens.

        ``origin`` is the gateway's own, ``users`` are the upstreams. Raises ImproperlyConfigured.
        """
        names = list(users)
        if not names:
            return None
        variable = f"UPSTREAM_{names[0].upper()}_TOKEN=identity"
        if keys.signing is None:
            raise self.error(IdentityVariables.key_file, f"is missing: {variable} needs it.")
        if not origin:
            raise self.error(
                IdentityVariables.key_file,
                f"needs PUBLIC_URL: the tokens of {variable} name the gateway by it.",
            )
        return TokenIssuer(origin, keys.signing)
