"""Which attempts are made again, and after what pause."""

import pytest

from sessions_kms.aws.retrying import ATTEMPTS, Failure, Retries

THROTTLED = Failure("ThrottlingException", 400)
NO_ANSWER = Failure()


def retries(service: str = "dynamodb", chance: float = 1.0) -> Retries:
    return Retries(service, chance=lambda: chance)


@pytest.mark.parametrize(
    "failure",
    [
        NO_ANSWER,
        THROTTLED,
        Failure("ProvisionedThroughputExceededException", 400),
        Failure("RequestTimeout", 408),
        Failure("InternalServerError", 500),
        Failure("ServiceUnavailable", 503),
        Failure("Unknown", 429),
    ],
)
def test_three_attempts_are_made_of_what_may_fare_better(failure: Failure) -> None:
    pauses = [retries().pause_after(tried, failure) for tried in range(1, ATTEMPTS + 1)]
    assert [pause is not None for pause in pauses] == [True, True, False]


@pytest.mark.parametrize(
    "failure",
    [
        Failure("AccessDeniedException", 400),
        Failure("ConditionalCheckFailedException", 400),
        Failure("TransactionConflictException", 400),
        Failure("ExpiredTokenException", 403),
    ],
)
def test_what_will_not_fare_better_is_asked_once(failure: Failure) -> None:
    assert retries().pause_after(1, failure) is None


def test_pauses_grow_and_are_spread_by_chance() -> None:
    asked = (1, 2)
    assert [retries().pause_after(tried, NO_ANSWER) for tried in asked] == [0.025, 0.05]
    assert [retries("kms eu-west-1").pause_after(tried, NO_ANSWER) for tried in asked] == [
        0.05,
        0.1,
    ]
    assert [retries().pause_after(tried, THROTTLED) for tried in asked] == [1, 2]
    assert retries(chance=0.5).pause_after(1, NO_ANSWER) == 0.0125


def test_outage_uses_retries_up_and_answers_bring_them_back() -> None:
    spent = retries()
    made = 0
    while spent.pause_after(1, NO_ANSWER) is not None:
        made += 1
    assert made == 35  # 500 tokens, 14 each
    for _ in range(2):
        spent.answered()
    assert spent.pause_after(1, NO_ANSWER) is not None
