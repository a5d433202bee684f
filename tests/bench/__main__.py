"""`python -m tests.bench`: all sections, then the page; what is not on the page is printed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests import ROOT
from tests.bench import machine, report
from tests.bench.isolation import run_isolated
from tests.bench.result import Section
from tests.bench.scale import DEFAULT, QUICK
from tests.bench.sections import NAMES


def main() -> int:
    """Run all sections and write the report; return 1 if a section failed."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a trial: the figures mean nothing")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "benchmarks")
    arguments = parser.parse_args()
    scale = QUICK if arguments.quick else DEFAULT
    facts = list(machine.facts())
    sections, failed = [], False
    for name in NAMES:
        sys.stderr.write(f"{name} …\n")
        try:
            sections.append(run_isolated(name, scale))
        except Exception as error:  # noqa: BLE001 - the other sections are worth their time
            sys.stderr.write(f"{name} failed: {error}\n")
            sections.append(Section(name, [f"This section failed: {type(error).__name__}."]))
            failed = True
    page = report.write(sections, facts, arguments.to)
    sys.stdout.write(report.summary(sections))
    sys.stderr.write(f"{page}\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
