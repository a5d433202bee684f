"""A site on real local servers with many sessions, and an operator whose commands are killed."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import boto3

from sessions_kms import services
from sessions_kms.backend import SessionStore
from sessions_kms.conf import Config
from sessions_kms.operations import provisioning
from tests.operating.process import start
from tests.sessions_kms.support.stacks import REGION, install
from tests.support.seeding import Seeded, seed

SAMPLE = 100  # items by which the progress of a command is watched


@dataclass
class Site:
    """A table, KMS keys, and what was put there."""

    config: Config
    sessions: list[Seeded]
    client: Any

    @classmethod
    def seeded(cls, table: str, count: int) -> "Site":
        """Make a table and a key, and fill the table with sessions."""
        client = boto3.client("dynamodb", region_name=REGION)
        list(provisioning.create_table(client, table))
        config = Config(key_id=new_key(), table_name=table, region_name=REGION)
        return cls(config, seed(services.build(config), count), client)

    @property
    def settings(self) -> dict[str, Any]:
        """Return SESSIONS_KMS."""
        return {
            "KEY_ID": self.config.key_id,
            "DECRYPT_KEY_IDS": list(self.config.decrypt_key_ids),
            "TABLE_NAME": self.config.table_name,
            "REGION_NAME": REGION,
            "DATA_KEY_CACHE_AGE": self.config.data_key_cache_age,
            "DATA_KEY_MAX_STALE": self.config.data_key_max_stale,
        }

    def switch_key(self, **more: Any) -> str:
        """Have a new KMS key wrap from now on; give the previous one."""
        old = self.config.key_id
        self.config = replace(self.config, key_id=new_key(), decrypt_key_ids=(old,), **more)
        return old

    def run_killed(self, *command: str, at: tuple[float, ...]) -> list[float]:
        """Run a command anew for each share of its work at which to kill it (kill -9).

        Give how long each run lasted, in seconds, that of the last one not among them.
        """
        before = self._sample()
        lasted: list[float] = []
        for share in at:
            began = time.monotonic()
            with start(self.settings, *command) as process:
                while self._changed(before) < share:
                    assert process.poll() is None, process.stderr and process.stderr.read()
                    time.sleep(0.02)
                process.kill()
            assert process.returncode == -9, "it was too fast to be killed"
            lasted.append(round(time.monotonic() - began, 1))
        return lasted

    def readable(self, sessions: list[Seeded]) -> int:
        """Count the sessions that are opened, by a process that knows the present key only."""
        install(services.build(replace(self.config, decrypt_key_ids=())))
        with ThreadPoolExecutor(8) as pool:
            return sum(pool.map(lambda session: "number" in SessionStore(session.key), sessions))

    def _sample(self) -> dict[str, Any]:
        step = max(1, len(self.sessions) // SAMPLE)
        ids = [session.id for session in self.sessions[::step]][:SAMPLE]
        return dict.fromkeys(ids) | self._held(ids)

    def _held(self, ids: list[str]) -> dict[str, bytes]:
        answer = self.client.batch_get_item(
            RequestItems={
                self.config.table_name: {
                    "Keys": [{"id": {"S": each}} for each in ids],
                    "ConsistentRead": True,
                }
            }
        )
        items = answer["Responses"][self.config.table_name]
        return {item["id"]["S"]: item["encryptedKey"]["B"] for item in items}

    def _changed(self, before: dict[str, Any]) -> float:
        held = self._held(list(before))
        changed = [each for each, key in before.items() if held.get(each) != key]
        return len(changed) / len(before)


def new_key() -> str:
    client = boto3.client("kms", region_name=REGION)
    arn: str = client.create_key()["KeyMetadata"]["Arn"]
    client.close()
    return arn
