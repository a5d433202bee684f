"""Runs a section in a separate process, with its own settings, clients and memory."""

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

from tests.bench.result import Section
from tests.bench.scale import Scale


def run_isolated(name: str, scale: Scale) -> Section:
    """Run a section; raise its errors here."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(_run, name, scale).result()


def _run(name: str, scale: Scale) -> Section:
    section = import_module(f"tests.bench.sections.{name}")
    with tempfile.TemporaryDirectory() as folder:
        found: Section = section.run(scale, Path(folder))
        return found
