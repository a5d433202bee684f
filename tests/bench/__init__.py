"""Benchmarks: the engine and the gateway compared with their peers, in one run.

    python -m tests.bench [--quick] [--to FOLDER]

Each section runs in a separate process and returns a `Section`; together they become the report
under `docs/benchmarks/`. AWS is replaced by stand-ins, whose cost is part of the figures of all
contestants alike.
"""
