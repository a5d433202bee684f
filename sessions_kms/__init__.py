"""Django sessions, envelope-encrypted with AWS KMS and stored in DynamoDB.

The public API is the names in this package and the modules in `PUBLIC_MODULES`; everything else may
change in any release. A name is imported when it is first used: importing the package reads no
setting, and needs neither Django nor boto3.
"""

# The layers, from bottom to top: each imports only from those before it (`.importlinter`).
#
#   exceptions  telemetry  outages  hints          errors, metrics, the log of a 503, hints
#   concurrency                                    threads, event loops and locks
#   http                                           connecting, TLS and header fields
#   format                                         session dict <-> bytes <-> record: the envelope
#   conf                                           the SESSIONS_KMS setting
#   aws -> storage                                 calls to AWS -> items of the table
#   data_keys                                      data keys: from KMS, shared, cached
#   services  signals                              the objects of a process | signals for projects
#   sealed_items                                   encrypted items beside the sessions
#   session                                        load, save, merge, expiry of one session
#   operations                                     many sessions: list, end, rewrap, import
#   backend  moving_in  moving_out  middleware     entry points: named in settings, found by
#   checks  apps  models  grant_store  ahead         Django, or for OAuth grants and servers
#   doctor | infrastructure | admin -> management  for operators and administrators
#   testing                                        the test kit, which no other code imports

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sessions_kms.aws.calls import open_circuits as open_circuits
    from sessions_kms.aws.clock import parse_date as parse_date
    from sessions_kms.backend import SessionStore as SessionStore
    from sessions_kms.exceptions import InvalidRecord as InvalidRecord
    from sessions_kms.exceptions import KMSUnavailable as KMSUnavailable
    from sessions_kms.exceptions import SessionsKMSError as SessionsKMSError
    from sessions_kms.exceptions import SessionTooLarge as SessionTooLarge
    from sessions_kms.exceptions import StoreUnavailable as StoreUnavailable
    from sessions_kms.exceptions import TableUnavailable as TableUnavailable
    from sessions_kms.format.item_types import SHORT_ID as SHORT_ID
    from sessions_kms.grant_store import GrantStore as GrantStore
    from sessions_kms.operations.session_limit import EndedSession as EndedSession
    from sessions_kms.operations.users import user_id_of as user_id_of
    from sessions_kms.sealed_items import about as about
    from sessions_kms.sealed_items.leases import Leases as Leases
    from sessions_kms.services import id_of as id_of
    from sessions_kms.session.links import LINKS as LINKS
    from sessions_kms.session.links import LINKS_MAX as LINKS_MAX
    from sessions_kms.session.pending import AnonymousSessionTooLarge as AnonymousSessionTooLarge
    from sessions_kms.storage.not_before import not_before_names_from as not_before_names_from

PUBLIC_MODULES = (
    "sessions_kms.backend",  # SESSION_ENGINE, as the next two
    "sessions_kms.moving_in",
    "sessions_kms.moving_out",
    "sessions_kms.middleware",
    "sessions_kms.ahead",  # for a server that runs Django's code in its event loop
    "sessions_kms.checks",  # errors in the settings, for your own checks
    "sessions_kms.exceptions",
    "sessions_kms.signals",
    "sessions_kms.services",  # the clock, the table and the keyring of this process
    "sessions_kms.outages",  # the log of a 503
    "sessions_kms.hints",  # the program that messages name
    "sessions_kms.telemetry",
    "sessions_kms.concurrency.threads",  # pools of threads
    "sessions_kms.concurrency.finishing",  # work that continues when its request is cancelled
    "sessions_kms.concurrency.waits",  # for waiting in your own middleware
    "sessions_kms.concurrency.sync_and_async",
    "sessions_kms.http.connecting",  # these three for this project only: its HTTP clients
    "sessions_kms.http.descriptors",
    "sessions_kms.http.fields",
    "sessions_kms.session.cookies",
    "sessions_kms.sealed_items.tokens",  # these two for tokens that open sessions
    "sessions_kms.grant_store",
    "sessions_kms.sealed_items.documents",  # for what a fleet shares
    "sessions_kms.conf",  # these two for the audit log of this project
    "sessions_kms.operations.audit_writers",
    "sessions_kms.operations.ending",
    "sessions_kms.operations.listing",
    "sessions_kms.operations.other_sessions",  # for tokens that are revoked with a session
    "sessions_kms.operations.used_tokens",
    "sessions_kms.doctor.finding",  # for your own checks, and a command that shows them
    "sessions_kms.management.base",
    "sessions_kms.management.known_errors",
    "sessions_kms.management.suggestions",
    "sessions_kms.testing",  # these two for test suites only
    "sessions_kms.testing.backend",  # SESSION_ENGINE of a test suite
)

# Where each name is defined: module, colon, and its name there.
_DEFINED_IN = {
    "LINKS": "sessions_kms.session.links:LINKS",
    "LINKS_MAX": "sessions_kms.session.links:LINKS_MAX",
    "SHORT_ID": "sessions_kms.format.item_types:SHORT_ID",
    "AnonymousSessionTooLarge": "sessions_kms.session.pending:AnonymousSessionTooLarge",
    "EndedSession": "sessions_kms.operations.session_limit:EndedSession",
    "GrantStore": "sessions_kms.grant_store:GrantStore",
    "InvalidRecord": "sessions_kms.exceptions:InvalidRecord",
    "KMSUnavailable": "sessions_kms.exceptions:KMSUnavailable",
    "Leases": "sessions_kms.sealed_items.leases:Leases",
    "SessionStore": "sessions_kms.backend:SessionStore",
    "SessionTooLarge": "sessions_kms.exceptions:SessionTooLarge",
    "SessionsKMSError": "sessions_kms.exceptions:SessionsKMSError",
    "StoreUnavailable": "sessions_kms.exceptions:StoreUnavailable",
    "TableUnavailable": "sessions_kms.exceptions:TableUnavailable",
    "about": "sessions_kms.sealed_items.about",
    "id_of": "sessions_kms.services:id_of",
    "not_before_names_from": "sessions_kms.storage.not_before:not_before_names_from",
    "open_circuits": "sessions_kms.aws.calls:open_circuits",
    "parse_date": "sessions_kms.aws.clock:parse_date",
    "user_id_of": "sessions_kms.operations.users:user_id_of",
}
__all__ = list(_DEFINED_IN)

if not TYPE_CHECKING:  # otherwise a type checker would accept any name

    def __getattr__(name: str) -> object:
        """Import a name when it is first used. Raises AttributeError for any other name."""
        if name not in _DEFINED_IN:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from pkgutil import resolve_name  # noqa: PLC0415 - importing the package stays cheap

        return resolve_name(_DEFINED_IN[name])
