"""The amount of measuring: a trial of seconds, or the default of minutes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """The sizes of all sections. `budget` and `burst` are seconds."""

    sizes: tuple[int, ...]  # of sessions, in KB
    rounds: int
    budget: float  # for the calls of one contestant in one round
    alternating: int  # calls of each contestant in one round, where they alternate
    burst: float  # of load on one server in one round
    bursts: int
    streams: tuple[int, ...]
    settle: float  # seconds that they are held open
    starts: int
    latencies: tuple[float, ...]  # seconds of a call of DynamoDB
    every_case: int  # of an attacker's requests, every n-th is tried; 1 means all


DEFAULT = Scale(
    sizes=(1, 4, 64),
    rounds=30,
    budget=0.05,
    alternating=50,
    burst=3,
    bursts=5,
    streams=(100, 1000),
    settle=1.5,  # long enough for another event in each stream
    starts=9,
    latencies=(0.005, 0.05),
    every_case=1,
)
QUICK = Scale(
    sizes=(1,),
    rounds=2,
    budget=0.002,
    alternating=3,
    burst=0.2,
    bursts=1,
    streams=(10,),
    settle=0.1,
    starts=1,
    latencies=(0.005,),
    every_case=97,
)
