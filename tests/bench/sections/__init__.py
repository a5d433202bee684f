"""The sections of a run. Each module has `run(scale, folder)`, which returns a `Section`."""

NAMES = (
    "storing",
    "serving",
    "proxying",
    "streaming",
    "starting",
    "contending",
    "stalling",
)
