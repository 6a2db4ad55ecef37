"""The part of benchmarks/oversight.py about helpers, who take no side: amplification, its distillation, recursive reward modelling.

Judge and helper of an amplification are the same model, so that what is gained is the decomposition's. A judge of trees weighs a word
with what he reads himself; "taken" is the same judge if he takes a helper's word as it is (`TAKEN`). What is learned starts from an
overseer who was taught nothing but leaves and single steps, from `LABELS` labels of each share, many of them alike, and who takes a helper's word:

    distilled           `ROUNDS` rounds of distillation, no label more
    labels alone        the overseer, trained on on his own labels for as many steps
    labels of depth     the same as distilled, with true labels in place of amplified answers: what no overseer could give
    reward              reward models, from nothing, learned from the overseer's comparisons, level by level
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import numpy as np

from tasks.oversight.amplification import Amplification
from tasks.oversight.direct import Direct
from tasks.oversight.distillation import Teaching, distilled
from tasks.oversight.protocol import Judge, Oversight, Participants, Question
from tasks.oversight.recursive_reward import RecursiveReward
from tasks.oversight.small_model import SIZES, SmallModel, examples
from tasks.oversight.tree_assistants import tree_assistants
from tasks.oversight.tree_helper import TreeHelper
from tasks.oversight.tree_judge import TreeJudge
from tasks.oversight.trees import Kind

Figures = dict[str, float]
Asked = Callable[[int], list[Question]]  # the questions of a depth

LEVELS, ROUNDS = range(1, 6), 2
TAKEN = 1.0  # a judge's trust in a word that he does not weigh with his own reading
LABELS, TAUGHT_STEPS, RATE = 500, 300, 1e-2  # labels of each share
SHARES = {"arithmetic": [0] + [1] * 8, "logic": [0, 1, 1]}
TEACHING = Teaching(questions=3000, steps=300, batch=64, learning_rate=5e-3)
LEARNED_DEPTHS = range(1, 5)
LAST = f"distilled/round {ROUNDS}"
COMPARED = ((f"{LAST} alone", "labels alone"), (f"{LAST} helps", "overseer/helps"))
COMPARED += ((f"reward/level {ROUNDS} alone", "labels alone"), (f"reward/level {ROUNDS} helps", "overseer/helps"))


def shared(n: int, share: float) -> int:
    """That share of n trees or steps, and at least one."""
    return max(1, round(n * share))


def accuracy(protocol: Oversight, asked: list[Question], judge: Judge, helper: TreeHelper | None = None) -> float:
    """Of the judge; none of these protocols draws anything. `helper`: an assistant, where the protocol is one with assistants."""
    found = protocol(asked, Participants(judge, helper=helper, assistant=helper), np.random.default_rng(0))
    return float(found.right(asked).mean())


def amplified_by_depth(judge: TreeJudge, asked_of: Asked, depths: range) -> Figures:
    """Accuracy with a helper that is the judge's own model, at every level of parts, and what the deepest gains."""
    found: Figures = {}
    helper, taking = TreeHelper(judge.reader), TreeJudge(judge.reader, TAKEN)
    for depth in depths:
        asked, row = asked_of(depth), {}
        direct = accuracy(Direct(), asked, judge)
        for name, who in (("amplification", judge), ("amplification_taken", taking)):
            row |= {f"{name}/{k} levels": accuracy(Amplification(k), asked, who, helper) for k in LEVELS}
            row[f"{name}_minus_direct"] = row[f"{name}/{LEVELS[-1]} levels"] - direct
        found |= {f"depth {depth}/{name}": value for name, value in row.items()}
    return found


def learned(kind: Kind, asked_of: Asked, seed: int, share: float) -> Figures:
    """Accuracy of what is learned from an overseer of one step, and with its help, by depth; `share` of trees and steps."""
    draw, overseer = np.random.default_rng([seed, 2]), SmallModel(kind, SIZES["large"], seed)
    teaching = replace(TEACHING, questions=shared(TEACHING.questions, share), steps=shared(TEACHING.steps, share))
    labels = examples(kind, SHARES[kind.name], shared(LABELS, share), draw)
    overseer.learn(labels, shared(TAUGHT_STEPS, share), batch=teaching.batch, learning_rate=RATE)
    judge = TreeJudge(overseer, TAKEN)
    trials: dict[str, tuple[Oversight, Judge, TreeHelper | None]] = {
        "overseer/alone": (Direct(), judge, None),
        "overseer/helps": (Amplification(1), judge, TreeHelper(overseer)),
        "overseer/amplified": (Amplification(LEVELS[-1]), judge, TreeHelper(overseer)),
    }
    for k, model in enumerate(islice(distilled(overseer, labels, 1, teaching, draw), ROUNDS), 1):
        trials[f"distilled/round {k} alone"] = (Direct(), TreeJudge(model), None)
        trials[f"distilled/round {k} helps"] = (Amplification(1), judge, TreeHelper(model))
    trials["labels alone"] = (Direct(), TreeJudge(_taught_on(overseer, labels, teaching, seed)), None)
    deep = examples(kind, range(2, ROUNDS + 2), teaching.questions, draw)
    often = examples(kind, SHARES[kind.name], teaching.questions // len(SHARES[kind.name]), draw)
    trials["labels of depth"] = (Direct(), TreeJudge(_taught_on(overseer, often + deep, teaching, seed)), None)
    untrained = SmallModel(kind, SIZES["large"], seed + 1000)
    for k, model in enumerate(islice(tree_assistants(judge, untrained, teaching, draw), ROUNDS + 1), 1):
        trials[f"reward/level {k} alone"] = (Direct(), TreeJudge(model), None)
        trials[f"reward/level {k} helps"] = (RecursiveReward(), judge, TreeHelper(model))
    found: Figures = {}
    for depth in LEARNED_DEPTHS:
        asked = asked_of(depth)
        row = {name: accuracy(protocol, asked, *who) for name, (protocol, *who) in trials.items()}
        row |= {f"{one}_minus_{other}": row[one] - row[other] for one, other in COMPARED}
        found |= {f"depth {depth}/{name}": value for name, value in row.items()}
    return found


def _taught_on(model: SmallModel, pairs: list[tuple[str, int]], teaching: Teaching, seed: int) -> SmallModel:
    """A copy, after as many steps as all rounds take."""
    further = model.copy()
    steps = ROUNDS * teaching.steps
    further.learn(pairs, steps, batch=teaching.batch, learning_rate=teaching.learning_rate, seed=seed)
    return further
