"""The sections of a run. Each module has `run(scale, folder)`, which returns a `Section`."""

NAMES = (
    "storing",
    "counting",
    "fleet",
    "serving",
    "proxying",
    "paging",
    "streaming",
    "starting",
    "threads",
    "contending",
    "stalling",
    "testing",
)
