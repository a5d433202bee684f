"""The amount of measuring: a trial of seconds, or the default of minutes."""

from __future__ import annotations

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
    counted: int  # requests of each kind
    fleets: tuple[int, ...]
    rate: int  # requests/s of a fleet, all processes together
    simulated: int  # seconds of virtual time
    streams: tuple[int, ...]
    settle: float  # seconds that they are held open
    starts: int
    threads: tuple[int, ...]
    latencies: tuple[float, ...]  # seconds of a call of DynamoDB
    every_case: int  # of an attacker's requests, every n-th is tried; 1 means all


DEFAULT = Scale(
    sizes=(1, 4, 64),
    rounds=30,
    budget=0.05,
    alternating=50,
    burst=3,
    bursts=5,
    counted=300,
    fleets=(8, 64, 512),
    rate=1000,
    simulated=1200,
    streams=(100, 1000),
    settle=1.5,  # long enough for another event in each stream
    starts=9,
    threads=(1, 4, 16, 64),
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
    counted=3,
    fleets=(8,),
    rate=100,
    simulated=600,
    streams=(10,),
    settle=0.1,
    starts=1,
    threads=(1, 2),
    latencies=(0.005,),
    every_case=97,
)
