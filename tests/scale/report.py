"""What the model says, as Markdown tables: for one person, one process, and whole sites."""

from dataclasses import dataclass

from tests.scale.fleet import DAY, HOUR, Called, Fleet, Load

FEW, MANY = 2, 6  # processes of two runs, whose difference is what a process costs
BUSY = 1_200  # requests to each process in an hour: often enough for all that it does by the clock
PEAK = 3  # times the average of a day
PER_PROCESS = 300  # requests a second, a third of what one core of a modest machine does
CONNECTIONS = 32  # to the SQL database, that a process keeps at most


@dataclass(frozen=True)
class Rates:
    """Calls of one person on a day, and of one busy process in an hour."""

    reads: float
    read_units: float
    writes: float
    write_units: float
    index_units: float
    process_reads: float
    process_kms: float


def measure(people: int) -> Rates:
    """Run the model: for a day with few processes, and for a busy hour with few and with many."""
    day = Fleet(Load(people, FEW)).run()
    few, many = (_busy_hour(people, processes) for processes in (FEW, MANY))
    table = day.table
    writes = sum(table.calls[each] for each in ("PutItem", "DeleteItem", "TransactWriteItems"))
    return Rates(
        reads=(table.calls["GetItem"] - own_reads(day)) / people,
        read_units=(table.read_units - own_reads(day)) / people,
        writes=writes / people,
        write_units=table.write_units / people,
        index_units=table.index_units / people,
        process_reads=(own_reads(many) - own_reads(few)) / (MANY - FEW),
        process_kms=(sum(many.kms.values()) - sum(few.kms.values())) / (MANY - FEW),
    )


def _busy_hour(people: int, processes: int) -> Called:
    requests = BUSY * processes // people
    return Fleet(Load(people, processes, requests=requests, saving=0.01, seconds=HOUR)).run()


def own_reads(called: Called) -> int:
    """Return the reads that processes make for themselves, not for a visitor."""
    kinds = ("data-key", "not-before")
    return sum(called.table.by_kind[f"GetItem of {kind}"] for kind in kinds)


def report(people: int) -> str:
    """Return the tables of docs/scale.md."""
    found = measure(people)
    lines = ["| a person on a day | |", "|---|--:|"]
    lines += [
        f"| {name} | {value:,.1f} |"
        for name, value in (
            ("reads of the table", found.reads),
            ("read units", found.read_units),
            ("writes to the table", found.writes),
            ("write units", found.write_units),
            ("write units of the index", found.index_units),
        )
    ]
    lines += ["", "| a busy process in an hour | |", "|---|--:|"]
    lines += [f"| reads of the not-before and data-key items | {found.process_reads:,.0f} |"]
    lines += [f"| calls of KMS | {found.process_kms:,.0f} |"]
    small, large = site(found, 100_000), site(found, 10_000_000)
    lines += ["", "| at the peak | 100,000 people a day | 10,000,000 |", "|---|--:|--:|"]
    lines += [f"| {name} | {small[name]} | {large[name]} |" for name in small]
    return "\n".join(lines)


def site(rates: Rates, people: int) -> dict[str, str]:
    """Return what a site of so many people a day needs at its peak."""
    each_second = people / DAY * PEAK
    requests = each_second * Load(people, 1).requests
    processes = max(2, -(-requests // PER_PROCESS))
    values = {
        "requests a second": requests,
        "processes, each on a core": processes,
        "read units a second": each_second * rates.read_units,
        "write units a second": each_second * rates.write_units,
        "write units of the index a second": each_second * rates.index_units,
        "reads of the not-before item a second": processes * rates.process_reads / HOUR,
        "calls of KMS a second": processes * rates.process_kms / HOUR,
        "SQL queries a second, at most": requests,
        "SQL connections, at most": processes * CONNECTIONS,
    }
    return {name: _round(value) for name, value in values.items()}


def _round(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1g}"
