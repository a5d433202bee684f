"""KMS keys, their material and their aliases: the model and its SQLite file.

One process owns the file (an exclusive lock) and holds everything in memory; each change is
committed to disk before it is answered, so it survives `kill -9`. What is due by the clock
(deletion, automatic rotation) happens in `catch_up`. Knows nothing of policies, blobs or HTTP.
"""

from __future__ import annotations

import json
import math
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from .errors import CannotStart

DAY = 24 * 60 * 60
SCHEMA_VERSION = 1
SCHEMA = """
    CREATE TABLE keys (name TEXT PRIMARY KEY, attributes TEXT NOT NULL);
    CREATE TABLE aliases (name TEXT PRIMARY KEY, attributes TEXT NOT NULL);
    CREATE TABLE materials (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        account TEXT NOT NULL, key_id TEXT NOT NULL, material_id TEXT NOT NULL UNIQUE,
        secret BLOB NOT NULL, created REAL NOT NULL, rotation TEXT
    );
    CREATE TABLE store (secret BLOB NOT NULL);
"""

ENABLED = "Enabled"
DISABLED = "Disabled"
PENDING_DELETION = "PendingDeletion"
PENDING_REPLICA_DELETION = "PendingReplicaDeletion"


@dataclass(frozen=True)
class Key:
    """One KMS key in one Region. Related multi-Region keys share account, key id and material."""

    account: str
    region: str
    key_id: str
    created: float
    policy: str
    description: str = ""
    state: str = ENABLED
    pending_window: int | None = None
    deletion_date: float | None = None
    primary_region: str | None = None  # of a multi-Region key; None for any other
    rotation_period: int | None = None  # days; None = automatic rotation is off
    next_rotation: float | None = None
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        return f"arn:aws:kms:{self.region}:{self.account}:key/{self.key_id}"

    @property
    def is_primary(self) -> bool:
        return self.primary_region == self.region

    @property
    def is_replica(self) -> bool:
        return self.primary_region not in (None, self.region)


@dataclass(frozen=True)
class Material:
    """Key material: the AES key behind a KMS key, or behind a set of multi-Region keys."""

    material_id: str
    secret: bytes = field(repr=False)
    created: float
    rotation: str | None = None  # ON_DEMAND, AUTOMATIC; None for the first


@dataclass(frozen=True)
class Alias:
    """A name for a key of the same account and Region."""

    account: str
    region: str
    name: str
    key_id: str
    created: float
    updated: float

    @property
    def arn(self) -> str:
        return alias_arn(self.account, self.region, self.name)


def alias_arn(account: str, region: str, name: str) -> str:
    """Return the ARN of an alias; `name` begins with `alias/`."""
    return f"arn:aws:kms:{region}:{account}:{name}"


class KeyStore:
    """Everything there is. The caller holds `lock` for as long as it looks or changes."""

    def __init__(self, path: Path | None) -> None:
        self.lock = threading.RLock()
        self._db = _open(path)
        self._load()

    def close(self) -> None:
        with self.lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is changed inside, or nothing of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite rolls back some failures by itself
                self._db.execute("ROLLBACK")
            self._load()
            raise
        self._schedule()

    def key(self, account: str, region: str, key_id: str) -> Key | None:
        return self._keys.get((account, region, key_id))

    def keys(self, account: str, region: str) -> list[Key]:
        return [k for k in self._keys.values() if (k.account, k.region) == (account, region)]

    def related(self, key: Key) -> list[Key]:
        """Return the keys that share this one's material, itself among them."""
        same = (key.account, key.key_id)
        return [k for k in self._keys.values() if (k.account, k.key_id) == same]

    def primary(self, key: Key) -> Key:
        """Return the key that holds the shared properties: itself, or a replica's primary."""
        return self._keys[key.account, key.primary_region or key.region, key.key_id]

    def put_key(self, key: Key) -> None:
        self._keys[key.account, key.region, key.key_id] = key
        self._write("keys", key.arn, asdict(key))

    def delete_key(self, key: Key) -> None:
        """Delete a key, its aliases, and its material unless a related key still needs it."""
        for alias in self.aliases(key.account, key.region):
            if alias.key_id == key.key_id:
                self.delete_alias(alias)
        del self._keys[key.account, key.region, key.key_id]
        self._db.execute("DELETE FROM keys WHERE name = ?", [key.arn])
        if not self.related(key):
            del self._materials[key.account, key.key_id]
            self._db.execute(
                "DELETE FROM materials WHERE account = ? AND key_id = ?", [key.account, key.key_id]
            )

    def materials(self, key: Key) -> list[Material]:
        """Return the key's material, oldest first; the last is the current one."""
        return self._materials[key.account, key.key_id]

    def add_material(self, key: Key, now: float, rotation: str | None = None) -> None:
        """Make new material the current one; what the old ones sealed still opens."""
        material = Material(secrets.token_hex(32), secrets.token_bytes(32), now, rotation)
        self._materials.setdefault((key.account, key.key_id), []).append(material)
        self._db.execute(
            "INSERT INTO materials (account, key_id, material_id, secret, created, rotation)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [key.account, key.key_id, material.material_id, material.secret, now, rotation],
        )

    def alias(self, account: str, region: str, name: str) -> Alias | None:
        return self._aliases.get((account, region, name))

    def aliases(self, account: str, region: str) -> list[Alias]:
        return [a for a in self._aliases.values() if (a.account, a.region) == (account, region)]

    def put_alias(self, alias: Alias) -> None:
        self._aliases[alias.account, alias.region, alias.name] = alias
        self._write("aliases", alias.arn, asdict(alias))

    def delete_alias(self, alias: Alias) -> None:
        del self._aliases[alias.account, alias.region, alias.name]
        self._db.execute("DELETE FROM aliases WHERE name = ?", [alias.arn])

    def catch_up(self, now: float) -> None:
        """Do what was due by `now`: delete keys, and rotate those with automatic rotation."""
        while self._next_due <= now:
            with self.transaction():
                for name in list(self._keys):
                    self._catch_up_key(self._keys[name], now)

    def _catch_up_key(self, key: Key, now: float) -> None:
        if key.deletion_date is not None and key.deletion_date <= now:
            self._delete_due(key, now)
        elif key.next_rotation is not None and key.next_rotation <= now:
            self._rotate_due(key, now)

    def _delete_due(self, key: Key, now: float) -> None:
        self.delete_key(key)
        rest = self.related(key)
        if len(rest) == 1 and rest[0].state == PENDING_REPLICA_DELETION:
            # A primary waits for its last replica; only then does its own window begin.
            window = (rest[0].pending_window or 0) * DAY
            self.put_key(replace(rest[0], state=PENDING_DELETION, deletion_date=now + window))

    def _rotate_due(self, key: Key, now: float) -> None:
        if key.state == ENABLED:
            self.add_material(key, now, "AUTOMATIC")
        self.put_key(replace(key, next_rotation=now + (key.rotation_period or 0) * DAY))

    def _schedule(self) -> None:
        dates = (d for k in self._keys.values() for d in (k.deletion_date, k.next_rotation))
        self._next_due = min((date for date in dates if date is not None), default=math.inf)

    def _write(self, table: str, name: str, attributes: dict[str, object]) -> None:
        # `table` is one of two words of this module.
        statement = f"INSERT OR REPLACE INTO {table} VALUES (?, ?)"  # noqa: S608 -- see above
        self._db.execute(statement, [name, json.dumps(attributes)])

    def _load(self) -> None:
        keys = [
            Key(**json.loads(row[0])) for row in self._db.execute("SELECT attributes FROM keys")
        ]
        self._keys = {(key.account, key.region, key.key_id): key for key in keys}
        rows = self._db.execute("SELECT attributes FROM aliases")
        aliases = [Alias(**json.loads(row[0])) for row in rows]
        self._aliases = {(alias.account, alias.region, alias.name): alias for alias in aliases}
        self._materials: dict[tuple[str, str], list[Material]] = {}
        for account, key_id, *columns in self._db.execute(
            "SELECT account, key_id, material_id, secret, created, rotation"
            " FROM materials ORDER BY sequence"
        ):
            self._materials.setdefault((account, key_id), []).append(Material(*columns))
        self.secret: bytes = self._db.execute("SELECT secret FROM store").fetchone()[0]
        self._schedule()


def _open(path: Path | None) -> sqlite3.Connection:
    """Open the file with its lock held, creating it and its tables when missing."""
    if path is not None:
        _make_private(path)
    database = sqlite3.connect(
        path or ":memory:", isolation_level=None, check_same_thread=False, timeout=2
    )
    try:
        _prepare(database)
    except sqlite3.DatabaseError as error:
        database.close()
        if isinstance(error, sqlite3.OperationalError):
            raise CannotStart(f"{path} cannot be opened: is another local KMS using it?") from None
        raise CannotStart(f"{path} is not the state of a local KMS: move it away.") from None
    except CannotStart:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection) -> None:
    # The lock is taken by the first transaction and kept until the process ends.
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("PRAGMA synchronous = EXTRA")
    # Deleted key material is overwritten, not only unlinked.
    database.execute("PRAGMA secure_delete = ON")
    database.execute("BEGIN EXCLUSIVE")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version not in (0, SCHEMA_VERSION):
        raise CannotStart(f"The state is of version {version}, not {SCHEMA_VERSION}: move it away.")
    if version == 0:
        for statement in SCHEMA.split(";"):
            database.execute(statement)
        database.execute("INSERT INTO store VALUES (?)", [secrets.token_bytes(32)])
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    database.execute("COMMIT")


def _make_private(path: Path) -> None:
    """Create the folder (0700) and the file (0600), before SQLite could make them readable."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.stat().st_mode & 0o077:
            raise CannotStart(
                f"{path.parent} is open to others: keys are kept in a folder of mode 0700 only."
            )
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError as error:
        raise CannotStart(f"{path} cannot be written: {error.strerror}.") from None
