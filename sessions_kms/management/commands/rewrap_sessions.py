"""`manage.py rewrap_sessions`: move everything to the present KMS key, while the site runs."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from sessions_kms.aws.translation import region_of
from sessions_kms.exceptions import TableUnavailable
from sessions_kms.management.base import OperatorCommand
from sessions_kms.operations.rewrapping import Moved, Rewrapping
from sessions_kms.services import build_kms_keyring, services

PASSES_MAX = 20


class Command(OperatorCommand):
    help = (
        "Move everything from the previous KMS keys (DECRYPT_KEY_IDS) to the present one "
        "(KEY_ID). The site keeps running, and nobody is signed out. 1. Add the new key to "
        "DECRYPT_KEY_IDS on every process. 2. Set KEY_ID to the new key and DECRYPT_KEY_IDS "
        "to the old one, on every process. 3. Run this command. It waits until no process can "
        "hold an old data key, then goes through the table until nothing is left. 4. Empty "
        "DECRYPT_KEY_IDS. May be interrupted and run again. KMS re-wraps each data key: no "
        "session is opened."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--no-wait",
            action="store_true",
            help="do not wait for DATA_KEY_CACHE_AGE and DATA_KEY_MAX_STALE: only if every process"
            " was restarted since KEY_ID was changed",
        )

    def operate(self, options: dict[str, Any]) -> None:
        config = services().config
        previous = [key for key in config.decrypt_key_ids if key != config.key_id]
        if not previous:
            self.conclude({"moved": 0}, "DECRYPT_KEY_IDS names no previous key: nothing to move.")
            return
        self._require_one_region(config.key_id, previous)
        if self.dry_run:
            self._look()
            return
        self.confirm(f"Move the data keys of {len(previous)} previous KMS keys to {config.key_id}?")
        with self.resumable("Nothing is lost. Run the same command again to go on."):
            passes = self._move(wait=not options["no_wait"])
        self._conclude(passes)

    def _require_one_region(self, key_id: str, previous: list[str]) -> None:
        for other in previous:
            if region_of(other) != region_of(key_id):
                raise CommandError(
                    f"{other} is in another Region than KEY_ID, and KMS re-wraps within one"
                    " only. Name its replica in that Region, if it has one; else leave it in"
                    " DECRYPT_KEY_IDS until the last session that it sealed has ended."
                )

    def _look(self) -> None:
        rewrapping = self._rewrapping()
        found = self._pass(rewrapping, "items looked at").found
        self.conclude({"found": found}, f"Would move the data keys of {found:,} items.")

    def _move(self, *, wait: bool) -> list[Moved]:
        rewrapping = self._rewrapping()
        rewrapping.move_published()
        passes = [rewrapping.moved, self._pass(rewrapping, "items, first pass")]
        if wait:
            self.wait_until(
                rewrapping.settled_at(), "Waiting until every process has taken the new data key"
            )
        for _ in range(PASSES_MAX):
            passes.append(self._pass(rewrapping, "items, looking again"))
            if passes[-1].found == 0:
                return passes
        raise TableUnavailable("Some process goes on sealing under a previous KMS key.")

    def _rewrapping(self) -> Rewrapping:
        keyring = build_kms_keyring(services().config)
        return Rewrapping(services(), keyring, dry_run=self.dry_run)

    def _pass(self, rewrapping: Rewrapping, what: str) -> Moved:
        with self.progress(what) as advance:
            for looked_at in rewrapping.one_pass():
                advance(looked_at)
        return rewrapping.moved

    def _conclude(self, passes: list[Moved]) -> None:
        moved = sum(each.moved for each in passes)
        last = passes[-1]
        summary = (
            f"Moved the data keys of {moved:,} items; of {last.looked_at:,} in the table none is"
            " left under a previous KMS key: DECRYPT_KEY_IDS can be emptied."
        )
        if last.invalid:
            summary += (
                f" {last.invalid:,} items were left, whose data keys KMS calls invalid: they are"
                " of another namespace, or forged."
            )
        self.conclude(
            {
                "moved": moved,
                "passes": len(passes) - 1,  # the first is of what is published alone
                "looked_at": last.looked_at,
                "invalid": last.invalid,
                "data_keys": sum(each.asked for each in passes),
            },
            summary,
        )
