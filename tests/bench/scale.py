"""The amount of measuring: a trial of seconds, or the default of minutes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """The sizes of all sections. `budget` and `burst` are seconds."""

    sizes: tuple[int, ...]  # of sessions, in KB
    rounds: int
    alternating: int  # calls of each contestant in one round
    seldom: int  # calls of each contestant with a pause before each
    pause: float  # seconds
    burst: float  # of load on one server in one round
    bursts: int
    streams: tuple[int, ...]
    settle: float  # seconds that they are held open
    starts: int
    latencies: tuple[float, ...]  # seconds of a call of DynamoDB
    every_case: int  # of an attacker's requests, every n-th is tried; 1 means all


DEFAULT = Scale(
    sizes=(1, 4, 16, 64, 256),
    rounds=8,
    alternating=25,
    seldom=15,
    pause=1.1,
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
    alternating=3,
    seldom=2,
    pause=0.01,
    burst=0.2,
    bursts=1,
    streams=(10,),
    settle=0.1,
    starts=1,
    latencies=(0.005,),
    every_case=97,
)
