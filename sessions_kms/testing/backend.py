"""`SESSION_ENGINE` of a test suite: the real engine over a DynamoDB and a KMS in memory."""

from sessions_kms import backend, conf
from sessions_kms.services import Services

__all__ = ["SessionStore"]


class SessionStore(backend.SessionStore):
    """Sessions that exist in this process only.

    Outside of tests and without DEBUG, the first use of a session raises ImproperlyConfigured.
    """

    @staticmethod
    def build_services(config: conf.Config) -> Services:
        """Return services over the table in memory. Raises ImproperlyConfigured."""
        from sessions_kms.testing.memory_store import store  # noqa: PLC0415 - cryptography, on first use

        return store.build_services(config)
