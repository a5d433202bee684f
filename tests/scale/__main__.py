"""Print what a person's day and a process's day cost, and what follows for large sites."""

import argparse
import os
import sys

import django

from tests.scale.report import report


def main() -> None:
    """Run the model and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--people", type=int, default=300)
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    sys.stdout.write(report(options.people) + "\n")


if __name__ == "__main__":
    main()
