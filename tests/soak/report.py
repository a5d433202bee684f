"""The report of a soak in Markdown, with its faults."""

from collections import Counter
from collections.abc import Mapping, Sequence

from tests.soak import watching
from tests.soak.ledger import Ledger
from tests.soak.watching import Sample


def faults(ledger: Ledger, samples: Sequence[Sample]) -> list[str]:
    """Return what must not be."""
    found = list(ledger.violations)
    if not watching.is_memory_flat(samples):
        found.append(f"memory grew by {watching.memory_growth(samples):.1f} MiB")
    if not watching.are_descriptors_flat(samples):
        found.append(f"descriptors grew by {watching.descriptor_growth(samples):.1f}")
    return found


def report(
    ledger: Ledger,
    samples: Sequence[Sample],
    calls: Mapping[str, int],
    errors: Mapping[str, int],
    *,
    seconds: float,
    keys: int,
) -> str:
    """Return the report; the samples are those after the warm-up."""
    found = faults(ledger, samples)
    total = sum(ledger.requests.values())
    memory = [each.memory for each in samples]
    descriptors = [each.descriptors for each in samples]
    lines = [
        f"{seconds / 60:.0f} minutes, {total:,} requests ({total / seconds:.0f} a second),"
        f" {len(ledger.disturbances)} disturbances, {keys} data keys of the fleet.",
        "",
        *_table("request", ledger.requests),
        *_table("answer", ledger.responses),
        *_table("disturbance", Counter(each.name for each in ledger.disturbances)),
        *_table("explained failure", ledger.explained),
        *_table("call of AWS", calls),
        *_table("error that was logged with a traceback", errors),
        f"The process that ran throughout, for {(samples[-1].at - samples[0].at) / 60:.1f} minutes"
        f" after its warm-up: memory {min(memory):.1f} to {max(memory):.1f} MiB, growing by"
        f" {watching.memory_growth(samples):+.1f}; {min(descriptors)} to {max(descriptors)} open"
        f" descriptors, growing by {watching.descriptor_growth(samples):+.1f} (both by the line of"
        f" least squares); {samples[-1].threads} threads at last.",
        "",
        f"**{len(found)} faults.**" if found else "**No fault.**",
        *(f"- {each}" for each in found[:50]),
    ]
    return "\n".join(lines) + "\n"


def _table(head: str, counts: Mapping[str, int]) -> list[str]:
    if not counts:
        return []
    rows = [f"| {name} | {count:,} |" for name, count in sorted(counts.items())]
    return [f"| {head} | times |", "|---|--:|", *rows, ""]
