"""Where modules stood in the release before: an old path still imports, for one release more.

It gives the module that stands elsewhere now, with a DeprecationWarning that names the new path.
The tables are all there is to it: no file stands at an old path.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader
else:
    Loader = object  # importing it costs more than all of this package

# Both sides within `sessions_kms`.
OLD_PATHS = {
    "about": "sealed_items.about",
    "admin_ending": "admin.ending",
    "admin_list": "admin.changelist",
    "admin_pages": "admin.pages",
    "anonymous": "session.anonymous",
    "asynchronous": "session.mixins.async_methods",
    "aws_errors": "aws.errors",
    "baseline": "session.snapshot",
    "behind": "concurrency.background",
    "belonging": "operations.ownership",
    "boto_http": "aws.boto_http",
    "boto_session": "aws.boto_session",
    "caching": "data_keys.cached_keyring",
    "calls": "aws.calls",
    "circuit": "aws.circuit",
    "clearing": "operations.purging",
    "clients": "aws.clients",
    "clock": "aws.clock",
    "codec": "format.serializer",
    "cookie_names": "cookies.names",
    "deadline": "concurrency.deadline",
    "doubts": "storage.doubts",
    "dry_run": "operations.dry_run",
    "ending": "operations.ending",
    "envelope": "format.envelope",
    "fate": "session.fate",
    "flights": "concurrency.single_flight",
    "foreign_cookies": "cookies.foreign",
    "importing": "switching.importer",
    "inspection": "operations.listing",
    "items": "storage.table",
    "key_periods": "operations.data_key_replacement",
    "keyring": "data_keys.keyring",
    "lanes": "concurrency.lanes",
    "leases": "sealed_items.leases",
    "limits": "session.mixins.expiry",
    "lineage": "format.ancestors",
    "links": "session.links",
    "loading": "session.loading",
    "locking": "concurrency.error_checking_lock",
    "lookups": "concurrency.bounded_pool",
    "merge": "session.merge",
    "moved": "switching.moved_marks",
    "next_cookie": "session.next_cookie",
    "not_before": "storage.not_before",
    "page_token": "operations.page_token",
    "parts": "session.parts",
    "patience": "concurrency.backoff",
    "provisioning": "operations.provisioning",
    "quiet": "session.mixins.redaction",
    "rebasing": "session.rebasing",
    "record": "format.record",
    "resolving": "aws.resolving",
    "retrying": "aws.retrying",
    "rewrapping": "operations.rewrapping",
    "role_credentials": "aws.role_credentials",
    "saving": "session.saving",
    "sealing": "sealed_items.sealing",
    "signing": "aws.signing",
    "stopwatch": "concurrency.elapsed",
    "sweeping": "operations.table_scan",
    "table": "storage.table",
    "tombstone": "format.tombstone",
    "users": "operations.users",
    "wrapped_keys": "data_keys.known_keys",
    "writing": "storage.sending",
}


class OldPaths(Loader):
    """Finder and loader of a package's old paths. Python asks it for what no file holds."""

    def __init__(self, package: str, table: Mapping[str, str]) -> None:
        """Take old paths with their new ones, both within the package."""
        self.package = package
        self._new = {f"{package}.{old}": f"{package}.{new}" for old, new in table.items()}

    def install(self) -> None:
        """Answer imports from now on; a package that is loaded again answers by its new table."""
        sys.meta_path[:] = [
            each
            for each in sys.meta_path
            if not (isinstance(each, OldPaths) and each.package == self.package)
        ]
        sys.meta_path.append(self)

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> ModuleSpec | None:
        """Tell whether this is an old path. Says and imports nothing yet."""
        return ModuleSpec(fullname, self) if fullname in self._new else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Have Python make an empty module, which is never used."""

    def exec_module(self, module: ModuleType) -> None:
        """Put the module that it is now in the place of the empty one."""
        old = module.__name__
        new = self._new[old]
        _warn(old, new)
        sys.modules[old] = import_module(new)


def names_of(home: str, names: Sequence[str], *, room: str) -> Callable[[str], Any]:
    """Return a `__getattr__` for a room that has the path of a module that stands in it now.

    It gives ``names`` of that module, which is ``home``.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 - that is what it becomes
        if name not in names:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        _warn(f"{room}.{name}", f"{home}.{name}")
        found = getattr(import_module(home), name)
        setattr(sys.modules[room], name, found)  # `from room import name` asks twice
        return found

    return __getattr__


def _warn(old: str, new: str) -> None:
    import warnings  # noqa: PLC0415 - a cost of those who use an old path

    warnings.warn(
        f"{old} is {new} now. The old path goes with the next release.",
        DeprecationWarning,
        stacklevel=3,
    )
