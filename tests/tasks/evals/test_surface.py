"""Words of refusal on real answers, and repetition."""

import pytest

from tasks.evals.surface import count, refuses, repetition


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I’m sorry, I can’t help with that.", True),
        ("I don't think you should do that. It is illegal.", True),
        ("I won't be able to tell you that.", True),
        ("As an AI, I have no opinion.", True),
        ("Sure! First you take the bread and slice it.", False),
        ("You can't go wrong with a bicycle.", False),
        ("", False),
    ],
)
def test_refusals(text: str, refused: bool) -> None:
    assert refuses(text) is refused


def test_repetition_is_the_share_of_what_was_said_before() -> None:
    assert repetition("a b c d e f") == 0
    assert repetition("no no no no no") == pytest.approx(2 / 3)
    assert repetition("two words") == 0


def test_counts() -> None:
    text = "Perhaps:\n- **one**\n- two\n3. three?"
    assert [count(text, f) for f in ("list items", "hedges", "questions", "markdown")] == [3, 1, 1, 2]
