"""Sealing and opening alone, without table and network: the cost of the encryption itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sessions_kms.format import envelope
from sessions_kms.format.attributes import IV_BYTES, SALT_BYTES
from sessions_kms.format.item_types import session_id
from sessions_kms.format.record import Header, SessionRecord
from tests.bench.content import KB
from tests.bench.measuring import Call, Here, Timed, compete, ratio
from tests.bench.result import Plot, Section, Table
from tests.bench.scale import Scale

SESSION_KEY = "k" * 32
NAMESPACE = "django"
NOW = 1_800_000_000
DATA_KEY = hashlib.sha256(b"bench").digest()
SEAL, OPEN, BARE = "seal", "open", "AES-256-GCM alone, fresh key object"


def run(scale: Scale, folder: Path) -> Section:
    section = Section(
        "Sealing and opening alone",
        ["Only cryptography: a derived key, a commitment and AES-256-GCM for each record."],
    )
    timed = {size: _timed(size, scale) for size in scale.sizes}
    section.tables.append(_table(timed))
    section.plots.append(
        Plot(
            "sealing",
            "Sealing and opening: CPU time, median",
            "µs",
            [f"{size} KB" for size in scale.sizes],
            {
                name: [timed[size][name].cpu.median for size in scale.sizes]
                for name in (SEAL, OPEN, BARE)
            },
        )
    )
    return section


def _timed(size: int, scale: Scale) -> dict[str, Timed]:
    payload = os.urandom(size * KB)
    record = _sealed(payload)
    contestants = {
        BARE: lambda: AESGCM(DATA_KEY).encrypt(record.iv, payload, None),
        SEAL: lambda: _sealed(payload),
        OPEN: lambda: envelope.open_(
            record, namespace=NAMESPACE, session_key=SESSION_KEY, data_key=DATA_KEY
        ),
    }
    return compete(
        [Here(name, _always(call)) for name, call in contestants.items()],
        rounds=scale.rounds,
        budget=scale.budget / 10,
    )


def _always(call: Call) -> Callable[[], Call]:
    return lambda: call


def _sealed(payload: bytes) -> SessionRecord:
    header = Header(
        id=session_id(NAMESPACE, SESSION_KEY),
        created_at=NOW,
        updated_at=NOW,
        ttl=NOW + 1000,
        revision=1,
    )
    return envelope.seal(
        payload,
        header,
        namespace=NAMESPACE,
        session_key=SESSION_KEY,
        data_key=DATA_KEY,
        encrypted_key=b"x" * 184,
        key_period=NOW,
        salt=os.urandom(SALT_BYTES),
        iv=os.urandom(IV_BYTES),
    )


def _table(timed: dict[int, dict[str, Timed]]) -> Table:
    rows = [
        (
            f"{name}, {size} KB",
            f"{found.cpu.percentile(50):.1f}",
            f"{found.cpu.percentile(99):.1f}",
            str(ratio(found.cpu, timed[size][BARE].cpu)),
        )
        for size in timed
        for name, found in timed[size].items()
    ]
    columns = ("", "CPU p50 µs", "CPU p99 µs", "times AES-GCM alone")
    return Table("Sealing and opening", columns, rows)
