"""Benchmarks: the engine and the gateway beside their peers, in one run.

    python -m tests.bench [--quick | --full] [--to FOLDER]

Each section runs in a process of its own and gives a `Section`; together they become the
report under `docs/benchmarks/`. Nothing is measured against a stand-in of AWS: what a
stand-in costs is in the figures of all contestants alike.
"""
