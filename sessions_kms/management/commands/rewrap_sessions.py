"""`manage.py rewrap_sessions`: move all data keys to the current KMS key, while the site runs."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from sessions_kms.aws.kms import region_of
from sessions_kms.doctor.trouble import DECRYPT_KEY_IDS
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.management.base import OperatorCommand
from sessions_kms.operations.rewrapping import Moved, Rewrapping
from sessions_kms.services import build_kms_keyring, services

PASSES_MAX = 20


class Command(OperatorCommand):
    help = (
        "Move all data keys from the previous KMS keys (DECRYPT_KEY_IDS) to the current one "
        "(KEY_ID). The site keeps running, and nobody is signed out. 1. Add the new key to "
        "DECRYPT_KEY_IDS in every process. 2. Set KEY_ID to the new key and DECRYPT_KEY_IDS "
        "to the old one, in every process. 3. Run this command. It waits until no process can "
        "use an old data key, then scans the table until nothing is left. 4. Empty "
        "DECRYPT_KEY_IDS. Can be interrupted and run again. KMS re-wraps each data key: no "
        "session is decrypted."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--no-wait",
            action="store_true",
            help="do not wait for DATA_KEY_CACHE_AGE and DATA_KEY_MAX_STALE; safe only if every"
            " process was restarted after KEY_ID was changed",
        )

    def operate(self, options: dict[str, Any]) -> None:
        config = services().config
        previous = [key for key in config.decrypt_key_ids if key != config.key_id]
        if not previous:
            self.conclude({"moved": 0}, f"Nothing to move: {DECRYPT_KEY_IDS} has no previous key.")
            return
        self._require_one_region(config.key_id, previous)
        if self.dry_run:
            self._count()
            return
        self.confirm(f"Move the data keys of {len(previous)} previous KMS keys to {config.key_id}?")
        with self.resumable("Nothing is lost. Run the same command again to continue."):
            passes = self._move(wait=not options["no_wait"])
        self._conclude(passes)

    def _require_one_region(self, key_id: str, previous: list[str]) -> None:
        for other in previous:
            if region_of(other) != region_of(key_id):
                raise CommandError(
                    f"{other} is in another Region than KEY_ID, and KMS re-wraps only within one"
                    " Region. Use its replica in that Region, if there is one; otherwise leave it"
                    " in DECRYPT_KEY_IDS until the last session that it sealed has ended."
                )

    def _count(self) -> None:
        rewrapping = self._rewrapping()
        found = self._pass(rewrapping, "items scanned").found
        self.conclude({"found": found}, f"Would move the data keys of {found:,} items.")

    def _move(self, *, wait: bool) -> list[Moved]:
        rewrapping = self._rewrapping()
        rewrapping.move_published()
        passes = [rewrapping.moved, self._pass(rewrapping, "items, first pass")]
        if wait:
            self.wait_until(
                rewrapping.settled_at(), "Waiting until every process uses the new data key"
            )
        for _ in range(PASSES_MAX):
            passes.append(self._pass(rewrapping, "items, again"))
            if passes[-1].found == 0:
                return passes
        raise TableUnavailable("Some process keeps using a previous KMS key.")

    def _rewrapping(self) -> Rewrapping:
        keyring = build_kms_keyring(services().config)
        return Rewrapping(services(), keyring, dry_run=self.dry_run)

    def _pass(self, rewrapping: Rewrapping, what: str) -> Moved:
        with self.progress(what) as advance:
            for scanned in rewrapping.scan():
                advance(scanned)
        return rewrapping.moved

    def _conclude(self, passes: list[Moved]) -> None:
        moved = sum(each.moved for each in passes)
        last = passes[-1]
        summary = (
            f"Moved the data keys of {moved:,} items; none of the {last.scanned:,} items in the"
            f" table uses a previous KMS key any more. You can empty {DECRYPT_KEY_IDS}."
        )
        if last.invalid:
            summary += (
                f" {last.invalid:,} items were left because KMS rejects their data keys: they"
                " belong to another namespace or are forged."
            )
        self.conclude(
            {
                "moved": moved,
                "passes": len(passes) - 1,  # the first has only the published data keys
                "looked_at": last.scanned,
                "invalid": last.invalid,
                "data_keys": sum(each.asked for each in passes),
            },
            summary,
        )
