"""KMS keys, their material and their aliases, in one SQLite file.

One process owns the file with an exclusive lock. Each change is on disk before the response, so it
survives `kill -9`. This module does not depend on policies, parameters or HTTP.

Earlier versions of the local KMS wrote more attributes and rotated keys. Their files are still
readable: unused attributes are dropped when their key is next written, and blobs encrypted with
older material can be decrypted.
"""

import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

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
SYMMETRIC, HMAC = "SYMMETRIC_DEFAULT", "HMAC_256"
# By key spec: what such a key is for.
USAGES = {SYMMETRIC: "ENCRYPT_DECRYPT", HMAC: "GENERATE_VERIFY_MAC"}


class StartError(Exception):
    """The local KMS cannot start; the message is a sentence for the user."""


@dataclass(frozen=True)
class Key:
    """One KMS key in one Region."""

    account: str
    region: str
    key_id: str
    created: float
    policy: str
    state: str = ENABLED
    rotation_period: int | None = None  # days; None = automatic rotation is off
    spec: str = SYMMETRIC

    @property
    def arn(self) -> str:
        return build_key_arn(self.region, self.account, self.key_id)


KEY_ATTRIBUTES = {attribute.name for attribute in fields(Key)}


def build_key_arn(region: str, account: str, key_id: str) -> str:
    """Return the ARN of a key."""
    return f"arn:aws:kms:{region}:{account}:key/{key_id}"


class KeyStore:
    """The store in a file, or in memory without a path. Call its methods within `transaction`."""

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._database = _open(path)
        self.secret: bytes = self._database.execute("SELECT secret FROM store").fetchone()[0]

    def close(self) -> None:
        with self._lock:
            self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Give one thread access; commit its changes, or roll them back if the block raises."""
        with self._lock, self._database:
            self._database.execute("BEGIN")
            yield

    def get_key(self, arn: str) -> Key | None:
        query = "SELECT attributes FROM keys WHERE name = ?"
        for (text,) in self._database.execute(query, [arn]).fetchall():
            attributes = json.loads(text)
            return Key(**{name: attributes[name] for name in KEY_ATTRIBUTES & attributes.keys()})
        return None

    def put_key(self, key: Key) -> None:
        self._put("keys", key.arn, asdict(key))

    def get_materials(self, key: Key) -> dict[str, bytes]:
        """Return the secrets of a key by id, oldest first; the last one is used for new blobs."""
        rows = self._database.execute(
            "SELECT material_id, secret FROM materials WHERE account = ? AND key_id = ?"
            " ORDER BY sequence",
            [key.account, key.key_id],
        )
        return dict(rows.fetchall())

    def add_material(self, key: Key) -> None:
        self._database.execute(
            "INSERT INTO materials (account, key_id, material_id, secret, created)"
            " VALUES (?, ?, ?, ?, ?)",
            [key.account, key.key_id, secrets.token_hex(32), secrets.token_bytes(32), key.created],
        )

    def get_alias_target(self, arn: str) -> Key | None:
        """Return the key of an alias, which is in the alias's Region and account."""
        query = "SELECT attributes FROM aliases WHERE name = ?"
        for (attributes,) in self._database.execute(query, [arn]).fetchall():
            return self.get_key(
                arn.partition("alias/")[0] + "key/" + json.loads(attributes)["key_id"]
            )
        return None

    def put_alias(self, arn: str, key: Key) -> None:
        self._put("aliases", arn, {"key_id": key.key_id})

    def _put(self, table: str, name: str, attributes: dict[str, object]) -> None:
        statement = f"INSERT OR REPLACE INTO {table} VALUES (?, ?)"  # noqa: S608 -- one of two tables
        self._database.execute(statement, [name, json.dumps(attributes)])


def _open(path: Path | None) -> sqlite3.Connection:
    """Open the file and lock it; create the file and its tables if they are missing."""
    if path is not None:
        _make_private(path)
    database = sqlite3.connect(
        path or ":memory:", isolation_level=None, check_same_thread=False, timeout=2
    )
    try:
        _prepare(database)
    except sqlite3.OperationalError:
        database.close()
        raise StartError(f"Cannot open {path}: is another local KMS using it?") from None
    except sqlite3.DatabaseError:
        database.close()
        raise StartError(f"{path} is not the state of a local KMS: move it away.") from None
    except StartError:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection) -> None:
    # The first transaction acquires the lock, and the process holds it until it ends.
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("PRAGMA synchronous = EXTRA")
    database.execute("BEGIN EXCLUSIVE")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version not in (0, SCHEMA_VERSION):
        raise StartError(f"The state is of version {version}, not {SCHEMA_VERSION}: move it away.")
    if version == 0:
        for statement in SCHEMA.split(";"):
            database.execute(statement)
        database.execute("INSERT INTO store VALUES (?)", [secrets.token_bytes(32)])
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    database.execute("COMMIT")


def _make_private(path: Path) -> None:
    """Create the folder (0700) and the file (0600) before SQLite creates readable ones."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent.stat().st_mode & 0o077:
            raise StartError(
                f"{path.parent} is open to others: keys are kept in a folder of mode 0700 only."
            )
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError as error:
        raise StartError(f"Cannot write {path}: {error.strerror}.") from None
