"""What the commands for operators share: output for people and programs, questions, progress."""

import difflib
import json
import math
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from time import monotonic
from typing import Any, NoReturn

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from sessions_kms.exceptions import StoreUnavailable
from sessions_kms.services import services

FAILED = 1
USAGE = 2  # options that do not fit, or a person, a provider or a key that is not known
INCOMPLETE = 3  # another run has to finish the work
WARNINGS = 4  # and --strict
INTERVAL = 0.1  # seconds between two counts on a terminal
LOOKED_THROUGH = 10_000  # names, for one that was meant


class UsageError(CommandError):
    """Options that do not fit together or say nothing that is known; nothing was done."""

    def __init__(self, message: str) -> None:
        super().__init__(message, returncode=USAGE)


def unknown(what: str, given: str, known: Iterable[str], *, cutoff: float = 0.6) -> UsageError:
    """Return the error for a name that is not known, with the nearest that is."""
    near = nearest(given, known, cutoff=cutoff)
    return UsageError(what + (f" Did you mean {shown(near)}?" if near else ""))


def nearest(given: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known name that is most like a given one, of as many as take a moment."""
    near = difflib.get_close_matches(given, list(islice(known, LOOKED_THROUGH)), 1, cutoff)
    return near[0] if near else None


def shown(text: str) -> str:
    """Return what somebody else chose as one word that can play no tricks on a terminal or an eye.

    A letter of another script may look like one of ASCII: such text is told twice.
    """
    if text and all(letter.isprintable() and not letter.isspace() for letter in text):
        return text if text.isascii() else f"{text} {text!a}"
    return ascii(text)


class OperatorCommand(BaseCommand):
    """A command with `--json`: one object on stdout, everything else on stderr.

    With --verbosity 0, a command that changes something prints nothing but errors and questions.
    Exit status 0 done, 1 failed, 2 usage, 3 incomplete, 4 warnings under --strict.
    """

    changes = True  # whether the command changes something: offers --dry-run and --no-input

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        if self.changes:
            parser.add_argument(
                "--dry-run", action="store_true", help="say what would be done, and do nothing"
            )
            parser.add_argument(
                "--no-input",
                "--noinput",
                action="store_true",
                help="do not ask for confirmation",
            )

    def handle(self, *_args: Any, **options: Any) -> None:
        self.as_json: bool = options["json"]
        self.dry_run: bool = options.get("dry_run", False)
        self.is_quiet: bool = self.changes and not self.dry_run and options["verbosity"] == 0
        self.ask: bool = not options.get("no_input", False) and not self.dry_run
        try:
            self.operate(options)
        except StoreUnavailable as exc:
            raise CommandError(_in_full(exc)) from exc
        except ImproperlyConfigured as exc:  # Not every command waits for the system checks.
            raise CommandError(str(exc)) from exc
        except KeyboardInterrupt as exc:
            status = INCOMPLETE if self.changes else FAILED
            text = "Interrupted. Run the same command again: what was done stays done."
            raise CommandError(text, returncode=status) from exc

    def operate(self, options: dict[str, Any]) -> None:
        """Do the command's work."""
        raise NotImplementedError

    def say(self, line: str) -> None:
        """Tell a person something; with --json on stderr."""
        if not self.is_quiet:
            (self.stderr if self.as_json else self.stdout).write(line)

    def conclude(self, result: dict[str, Any], summary: str, *, status: int = 0) -> None:
        """Print the outcome in the form that was asked for, and exit with its status."""
        if self.as_json:
            self.stdout.write(json.dumps(result))
        elif not self.is_quiet:
            self.stdout.write(summary)
        if status:
            sys.exit(status)

    def confirm(self, question: str) -> None:
        """Ask before something that cannot be taken back. Ends the command unless yes.

        On stderr, since stdout may be a pipe, and with --json holds one object.
        """
        if not self.ask:
            return
        if not sys.stdin.isatty():
            raise CommandError("Nobody is there to confirm: add --no-input, or --dry-run first.")
        self.stderr.write(f"{question} [y/N] ", style_func=str, ending="")
        self.stderr.flush()
        if self._answer() not in {"y", "yes"}:
            self._stop("Nothing was done.")

    @contextmanager
    def progress(self, what: str, *, total: int | None = None) -> Iterator[Callable[..., None]]:
        """Count what is done on a terminal; give a function that takes how much more is done."""
        if self.is_quiet or not self.stderr.isatty():
            yield lambda _=1: None
            return
        done, shown_at = 0, -INTERVAL

        def advance(more: int = 1) -> None:
            nonlocal done, shown_at
            done += more
            if (now := monotonic()) >= shown_at + INTERVAL:
                shown_at = now
                self._write_over(f"{what}: {done:,}" + (f" of {total:,}" if total else ""))

        try:
            yield advance
        finally:
            self._write_over("")

    @contextmanager
    def resumable(self, how: str) -> Iterator[None]:
        """Tell how to go on, should this work be interrupted or fail half-way."""
        try:
            yield
        except KeyboardInterrupt as exc:
            raise CommandError(f"Interrupted. {how}", returncode=INCOMPLETE) from exc
        except StoreUnavailable as exc:
            raise CommandError(f"{_in_full(exc)} {how}", returncode=INCOMPLETE) from exc

    def wait_until(self, moment: float, what: str) -> None:
        """Wait for a moment, in epoch seconds, counting seconds on a terminal."""
        clock, sleep = services().clock, services().sleep
        left = moment - clock()
        if left <= 0:
            return
        self.say(f"{what}: {math.ceil(left):,} seconds.")
        with self.progress(what, total=math.ceil(left)) as advance:
            for _ in range(math.ceil(left)):
                sleep(1)
                advance()

    def _write_over(self, line: str) -> None:
        """Write on a terminal's current line, and leave the cursor at its beginning."""
        self.stderr.write(f"\r\x1b[K{line}\r", style_func=str, ending="")
        self.stderr.flush()

    def _answer(self) -> str:
        try:
            return input().strip().lower()
        except (EOFError, KeyboardInterrupt):
            self.stderr.write("")  # What is said next begins a line.
            return ""

    def _stop(self, message: str) -> NoReturn:
        raise CommandError(message)


def session_engine() -> Any:
    """Return the class of the sessions that this site has."""
    return import_module(settings.SESSION_ENGINE).SessionStore


def _in_full(error: StoreUnavailable) -> str:
    # Ours tell little by design: an operator is helped by AWS's own words.
    cause = error.__cause__
    return f"{error} ({cause})" if cause else str(error)
