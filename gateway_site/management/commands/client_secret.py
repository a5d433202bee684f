"""`client_secret`: a secret for a client of `CLIENTS_FILE`, and the digest that the file needs."""

from typing import Any

from oauth.clients.rules.authentication import DIGESTS, hash_secret, make_secret
from sessions_kms.management.base import OperatorCommand


class Command(OperatorCommand):
    help = (
        "Print a new secret for a client, and the member of its entry in CLIENTS_FILE. Stores "
        "neither. Exit status: 0."
    )
    changes = False
    requires_system_checks = ()

    def operate(self, options: dict[str, Any]) -> None:
        """Print both."""
        secret = make_secret()
        digest = hash_secret(secret).hex()
        self.conclude(
            {"client_secret": secret, DIGESTS: digest},
            f'For the client:    {secret}\nFor CLIENTS_FILE:  "{DIGESTS}": "{digest}"',
        )
