"""Work on two cores gives what one core gives, in the same order."""

import threading
import time
from collections.abc import Iterator

import pytest

from tasks.stats.in_order import THREADS, ahead, in_order


def test_results_come_in_the_order_of_the_parts() -> None:
    def work(n: int) -> int:
        time.sleep(0.02 * (n % 3 == 0))  # the first of every three ends last
        return n * n

    assert list(in_order(work, range(20))) == [n * n for n in range(20)]
    assert list(in_order(work, [])) == []


def test_no_more_parts_than_threads_are_in_memory() -> None:
    given: list[int] = []
    results = in_order(lambda n: n, (given.append(n) or n for n in range(100)))
    for n in results:
        assert len(given) <= n + THREADS


def test_the_next_part_is_made_meanwhile() -> None:
    made = threading.Event()

    def parts() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    found = ahead(parts())
    assert next(found) == 1
    assert made.wait(5)
    assert list(found) == [2]
    assert list(ahead([])) == []


def test_errors_reach_who_asked() -> None:
    def parts() -> Iterator[int]:
        yield 1
        raise ValueError("the second part is damaged")

    with pytest.raises(ValueError, match="damaged"):
        list(ahead(parts()))
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda n: 1 // n, [1, 0, 1]))
