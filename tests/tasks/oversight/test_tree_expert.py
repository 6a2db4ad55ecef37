"""The simulated expert defends any answer, by steps that hold, and leads a debate to where it is wrong."""

import numpy as np
import pytest

from tasks.oversight.protocol import Case, Question, Statement
from tasks.oversight.tree_expert import TreeExpert
from tasks.oversight.trees import KINDS, Kind, grown, parsed


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_every_value_is_defended_by_a_step_that_holds_and_the_true_one_by_the_truth(kind: Kind) -> None:
    expert = TreeExpert(kind)
    for seed in range(20):
        tree = grown(kind, 3, np.random.default_rng(seed))
        for value in range(kind.values):
            left, right = expert.defended(tree, value, 0)
            assert kind.operations[tree.operation](left, right) == value
        assert list(expert.defended(tree, tree.value, 0)) == [part.value for part in tree.parts]


def test_a_debate_goes_where_the_sides_disagree_and_ends_at_a_single_step() -> None:
    kind = KINDS["logic"]
    question = Question("(((1&0)|(1^1))^((0|0)|(1&1)))", ("1", "0"), 0, 3)
    expert = TreeExpert(kind)
    transcript: list[Statement] = []
    for _ in range(3):
        case = Case(question, tuple(transcript))
        transcript += [
            Statement(s, text)
            for s, said in zip((0, 1), expert.argue([case] * 2, (0, 1)), strict=True)
            for text in said
        ]
    said = [{s.text.split("=")[0]: s.text.split("=")[1] for s in transcript if s.side == side} for side in (0, 1)]
    assert len(transcript) == 8  # two turns; a third has nothing to add
    disputed = [part for part in said[0] if said[0][part] != said[1][part]]
    depths = [parsed(kind, part).depth for part in disputed]
    assert 1 in depths and 2 in depths
    for part, value in said[0].items():
        assert int(value) == parsed(kind, part).value


def test_a_lonely_liar_opens_what_bears_being_looked_at() -> None:
    kind = KINDS["arithmetic"]
    text = "(((1+2)+(3+4))+((5+6)+(7+8)))"  # 6
    question = Question(text, ("6", "7"), 0, 3)
    first = TreeExpert(kind).argue([Case(question)], [1])[0]
    case = Case(question, tuple(Statement(1, said) for said in first))
    second = TreeExpert(kind).argue([case], [1])[0]
    true = [int(said.split("=")[1]) == parsed(kind, said.split("=")[0]).value for said in (*first, *second)]
    assert true[:2].count(False) == 1 and true[2:] == [True, True]


def test_errors_are_as_frequent_as_said_and_leaves_are_read_right() -> None:
    kind = KINDS["arithmetic"]
    expert, draw = TreeExpert(kind, errors=0.3, seed=2), np.random.default_rng(0)
    trees = [grown(kind, 3, draw) for _ in range(400)]
    assert 0.22 < np.mean([expert.known(tree) != tree.value for tree in trees]) < 0.38
    assert all(expert.known(grown(kind, 0, draw)) in range(10) for _ in range(5))
    assert [expert.known(t) for t in trees] == [TreeExpert(kind, 0.3, 2).known(t) for t in trees]
    assert expert.known(parsed(kind, "7")) == 7
