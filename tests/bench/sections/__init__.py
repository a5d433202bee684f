"""The sections of the report. Each module has `run(scale, folder)`, which returns a `Section`."""

NAMES = (
    "storing",
    "sealing",
    "counting",
    "fleet",
    "serving",
    "proxying",
    "paging",
    "connecting",
    "streaming",
    "starting",
    "growing",
    "threads",
    "contending",
    "stalling",
    "testing",
)
