"""A judge alone is right to his depth, and knows nothing beyond it."""

from collections.abc import Callable
from typing import Any

from tasks.oversight.direct import Direct


def test_right_to_the_judges_depth_and_no_further(asked: Callable[..., Any], accuracy: Callable[..., Any]) -> None:
    assert accuracy(Direct(), asked(2), limit=2) == 1
    assert accuracy(Direct(), asked(3), limit=2) == 0.5  # he cannot tell on any of them
