"""The tests of the project, and where it lies."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
