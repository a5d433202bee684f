"""An assertion of an OAuth client is accepted once, by any of several processes."""

from sessions_kms.concurrency.waits import run_sync
from sessions_kms.operations.used_tokens import use_assertion
from tests.sessions_kms.model.world import World

CLIENT = "https://app.example.com/client.json"


def test_two_processes_accept_an_assertion_with_one_token_only() -> None:
    world = World(2)
    until = int(world.clock()) + 60

    def use(process: int, token: str, client: str = CLIENT, jti: str = "one") -> bool:
        services = world.processes[process]
        return run_sync(use_assertion(services, client, jti, with_token=token, until=until))

    assert use(0, "token")
    assert use(1, "token"), "the response was lost, and the client repeats its request"
    assert not use(1, "another")
    assert not use(0, "another")
    assert use(1, "another", client=CLIENT + "x")
    assert use(0, "another", jti="two")
    (first, *_) = [each for each in world.table.items.values() if "assertion#" in each["id"]["S"]]
    assert int(first["ttl"]["N"]) > until
