"""The client's exceptions travel: between processes, and into copies, with all their facts."""

import concurrent.futures
import copy
import multiprocessing
import pickle
from collections.abc import Iterator

import pytest

from sportshop import client
from sportshop.client.errors import _BY_REASON, Refused, ShopError
from sportshop.messages import Reason

FACTS = {"productName": "Bola", "requested": 2, "available": 1, "asOf": 3, "orderKey": "k"}


class OfAProgram(client.Busy):
    """What a program that uses the client may derive of its own."""


def examples() -> Iterator[ShopError]:
    yield ShopError("anything")
    yield client.ConnectionLost("receive", "reset")
    yield client.DeadlineExceeded(2.5)
    yield client.ProtocolViolation("no LF")
    yield client.OutcomeUnknown("k-1")
    yield client.OutcomeUnknown(None)
    for reason in Reason:
        yield _BY_REASON[reason](reason, "an English sentence", True, FACTS)
    yield client.SoldOut(Reason.INSUFFICIENT_STOCK, "none", False, {**FACTS, "available": 0})
    yield Refused("CLOSED_ON_SUNDAYS", "come back", True, {"opens": ["Monday", 9]})
    yield OfAProgram("BUSY", "full", True, {"retryAfterMs": 5})
    noted = client.DeadlineExceeded(1.0)
    noted.add_note("seen at the till")
    yield noted


def kinds(base: type[ShopError] = ShopError) -> set[type[ShopError]]:
    return {base}.union(*(kinds(derived) for derived in base.__subclasses__()))


def same(problem: BaseException, other: BaseException) -> bool:
    return (
        type(problem) is type(other)
        and str(problem) == str(other)
        and problem.args == other.args
        and vars(problem) == vars(other)
    )


def test_there_is_an_example_of_every_kind() -> None:
    assert {type(problem) for problem in examples()} >= kinds()


@pytest.mark.parametrize("problem", list(examples()), ids=lambda problem: type(problem).__name__)
def test_an_error_comes_out_of_a_pickle_and_a_copy_as_it_was(problem: ShopError) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert same(pickle.loads(pickle.dumps(problem, protocol)), problem)  # noqa: S301 - ours
    assert same(copy.copy(problem), problem)
    assert same(copy.deepcopy(problem), problem)


def test_why_an_outcome_is_unknown_travels_with_it() -> None:
    unknown = client.OutcomeUnknown("k-1")
    unknown.__cause__ = client.ConnectionLost("receive", "reset")
    travelled = pickle.loads(pickle.dumps(unknown))  # noqa: S301 - ours
    assert same(travelled.__cause__, unknown.__cause__)
    assert travelled.__cause__.stage == "receive"


def fail(number: int) -> None:
    raise list(examples())[number]


def test_errors_cross_from_the_processes_of_a_pool() -> None:
    """With a plain `multiprocessing.Pool` an error that can't be unpickled hangs the parent."""
    made = list(examples())
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        raised = [
            future.exception(60) for future in [pool.submit(fail, n) for n in range(len(made))]
        ]
    assert [type(problem) for problem in raised] == [type(problem) for problem in made]
    assert [str(problem) for problem in raised] == [str(problem) for problem in made]
