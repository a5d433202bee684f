"""CachingKeyring under any order of events: its guarantees, compared with the calls to KMS."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from sessions_kms.aws.kms import DataKeyResponse
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.data_keys.keyring import DataKey
from sessions_kms.exceptions import InvalidRecord, KMSUnavailable
from tests.sessions_kms.support import fleet
from tests.sessions_kms.support.fakes import KEY, OLD_KEY, FakeKMS, State
from tests.support.clock import FakeClock

BACK_OFF = 1
MAX_ENTRIES = 3


class WitnessKMS(FakeKMS):
    """Notes when it last gave each data key, and which KMS keys refused."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.given_at: dict[bytes, float] = {}
        self.refused: set[str | None] = set()

    def generate_data_key(self, key_id: str, context: Mapping[str, str]) -> DataKeyResponse:
        return self._note(super().generate_data_key(key_id, context))

    def decrypt(
        self, key_id: str, ciphertext: bytes, context: Mapping[str, str]
    ) -> DataKeyResponse:
        try:
            return self._note(super().decrypt(key_id, ciphertext, context))
        except KMSUnavailable as exc:
            self.refused.add(exc.refused_key)
            raise

    def _note(self, response: DataKeyResponse) -> DataKeyResponse:
        self.given_at[response.ciphertext] = self.clock()
        return response


class World:
    """One process, four records of earlier periods, and KMS keys whose state changes."""

    def __init__(self) -> None:
        self.clock = FakeClock(fleet.NOW)
        self.kms = WitnessKMS(self.clock)
        self.process = fleet.Process(self.kms, clock=self.clock, max_entries=MAX_ENTRIES)
        self.records = [
            run_sync(
                fleet.kms_keyring(self.kms, key_id=key_id).generate(fleet.PERIOD - age * fleet.DAY)
            )
            for age, key_id in ((1, KEY), (2, KEY), (3, OLD_KEY), (4, OLD_KEY))
        ]
        self.states = {KEY: State.ENABLED, OLD_KEY: State.ENABLED}
        self.last = dict.fromkeys(State, -1.0)

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def turn(self, key_and_state: tuple[str, State]) -> None:
        key_id, state = key_and_state
        self.kms.set_state(state, key_id)
        self.states[key_id] = state

    def read(self, number: int) -> None:
        record = self.records[number]
        try:
            key = self.process.read(record)
        except KMSUnavailable:
            assert self.was(State.UNREACHABLE) or self.was(State.REFUSING)
        else:
            assert key == record
            self.check_age(key)

    def write(self, _: None) -> None:
        now = int(self.clock())
        try:
            key = self.process.generate(now - now % fleet.DAY)
        except KMSUnavailable:
            assert self.was(State.UNREACHABLE) or self.was(State.REFUSING)
        else:
            assert key.period <= now
            self.check_age(key)

    def forge(self, number: int) -> None:
        before = self.process.plaintexts()
        try:
            self.process.unwrap(b"forged %d" % number, fleet.PERIOD)
            raise AssertionError("a forged blob was unwrapped")
        except InvalidRecord:
            assert self.process.plaintexts() == before
        except KMSUnavailable:
            assert self.was(State.UNREACHABLE) or self.was(State.REFUSING)

    def renew(self, _: None) -> None:
        self.process.run_jobs()

    def was(self, state: State, within: float = BACK_OFF) -> bool:
        """Return True if a KMS key was in this state so recently that its failure may linger."""
        return self.clock() - self.last[state] < within

    def check_age(self, key: DataKey) -> None:
        age = self.clock() - self.kms.given_at[key.encrypted]
        assert age < fleet.MAX_STALE
        # A stale key serves while KMS is probed in the background, which may not run here.
        assert age < fleet.MAX_AGE or self.was(State.UNREACHABLE, within=fleet.MAX_AGE)

    def step(self, name: str, argument: object) -> None:
        self.kms.refused.clear()
        for state in self.states.values():
            self.last[state] = self.clock()
        getattr(self, name)(argument)
        held = {entry.key.kms_key_id for entry in self.process.cache._entries.values()}
        held |= {entry.key.kms_key_id for entry in self.process.cache._sealing}
        assert not held & self.kms.refused
        assert len(self.process.cache._entries) <= MAX_ENTRIES


STATES = (State.ENABLED, State.UNREACHABLE, State.REFUSING)
SECONDS = (0.5, 1, 30, 240, 299, 300, 1000, 3599, 3600, fleet.DAY)
STEPS = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from(SECONDS)),
    st.tuples(st.just("read"), st.integers(0, 3)),
    st.tuples(st.just("write"), st.none()),
    st.tuples(st.just("forge"), st.integers(0, 3)),
    st.tuples(st.just("renew"), st.none()),
    st.tuples(st.just("turn"), st.tuples(st.sampled_from((KEY, OLD_KEY)), st.sampled_from(STATES))),
)


@given(st.lists(STEPS, max_size=40))
def test_promises_hold_in_any_order(steps: list[tuple[str, object]]) -> None:
    world = World()
    for name, argument in steps:
        world.step(name, argument)
