"""Oversight protocols on questions whose truth is known: python -m benchmarks.oversight [--seeds 5 --first-seed 0 --questions 100
--training 1.0 --picture F.png]; one JSON line.

Questions are generated trees of arithmetic and of logic (tasks/oversight/trees.py), of depth 1 to 6; the experts are SIMULATED
(tasks/oversight/tree_expert.py). The judge is a small transformer, trained here on trees to depth 3, most of them of the depth in `TAUGHT`;
a seed draws its weights, its training, the questions, and the experts' errors. Every protocol judges the same questions with the
same judge; a consultancy judges each of them twice, once with a consultant for either answer.

What is measured of helpers, and of what is learned from an overseer of one step, is in benchmarks/oversight_helpers.py; of policies
that learn from judgements, in benchmarks/oversight_policy.py.

A figure is an accuracy, of the judge or of what learns from judgements, or a difference of two on the same questions, with Student's
interval over the seeds (level .95). `--training .1` trains everything on a tenth of the trees for a tenth of the steps: to see
whether the command works, not for figures.
"""

import argparse
import json
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.machine import described
from benchmarks.oversight_helpers import amplified_by_depth, learned, shared
from benchmarks.oversight_policy import policies
from benchmarks.seeds import interval
from tasks.oversight.consultancy import Consultancy
from tasks.oversight.debate import Debate
from tasks.oversight.direct import Direct
from tasks.oversight.protocol import Oversight, Participants, Question
from tasks.oversight.small_model import SIZES, Size, SmallModel, examples
from tasks.oversight.tree_expert import TreeExpert
from tasks.oversight.tree_judge import TreeJudge
from tasks.oversight.trees import KINDS, LOGIC, Kind, questions
from tasks.plots import save

DEPTHS, TURNS = range(1, 7), 5  # a debate gets to the bottom of a tree of depth d in d - 1 turns
TAUGHT = {"arithmetic": [0] + [1] * 8 + [2, 3], "logic": [0, 1, 1] + [2] * 6 + [3]}  # shares of the judge's training
EACH, STEPS, BATCH, RATE = 500, 500, 128, 1e-2
DEEP, ERRORS = 5, (0.05, 0.1, 0.2)  # of the cases where debate is put to the test
LONG_ENOUGH = 5  # characters of a quote: the smallest part of a tree, (3+4)

Figures = dict[str, float]


@dataclass(frozen=True)
class Setting:
    """One judge of one seed, and what it judges."""

    kind: Kind
    judge: TreeJudge
    seed: int
    n: int

    def asked(self, depth: int) -> list[Question]:
        """The questions of a depth, the same for every protocol and judge of this seed."""
        return questions(self.kind, depth, self.n, np.random.default_rng([self.seed, depth]))

    def accuracy(self, protocol: Oversight, asked: list[Question], errors: float = 0.0) -> float:
        """Of the judge, under that protocol, with experts who err on that share of parts."""
        people = Participants(self.judge, TreeExpert(self.kind, errors, self.seed))
        return float(protocol(asked, people, np.random.default_rng([self.seed, 1])).right(asked).mean())

    def consulted(self, asked: list[Question], errors: float = 0.0) -> Figures:
        """Accuracy by what the consultant argued for, and over both."""
        sides = np.array([int(q.correct == 1) for q in asked])
        right, wrong = (
            self.accuracy(Consultancy(TURNS, spoken_for.tolist()), asked, errors) for spoken_for in (sides, 1 - sides)
        )
        return {"consultancy": (right + wrong) / 2, "consultancy_right": right, "consultancy_wrong": wrong}


def judge_of(kind: Kind, size: Size, seed: int, training: float) -> TreeJudge:
    """A trained judge."""
    model = SmallModel(kind, size, seed)
    pairs = examples(kind, TAUGHT[kind.name], shared(EACH, training), np.random.default_rng([seed, 0]))
    model.learn(pairs, shared(STEPS, training), batch=BATCH, learning_rate=RATE)
    return TreeJudge(model)


def by_depth(setting: Setting) -> Figures:
    """Accuracy of every protocol at every depth, and what debate gains."""
    found: Figures = {}
    for depth in DEPTHS:
        asked = setting.asked(depth)
        row = {"direct": setting.accuracy(Direct(), asked), **setting.consulted(asked)}
        row["debate"] = setting.accuracy(Debate(TURNS), asked)
        row["debate_in_turns"] = setting.accuracy(Debate(TURNS, "in turns"), asked)
        row |= {f"debate_minus_{other}": row["debate"] - row[other] for other in ("direct", "consultancy")}
        found |= {f"depth {depth}/{name}": value for name, value in row.items()}
    return found


def put_to_the_test(setting: Setting) -> Figures:
    """A debate of fewer turns, of experts who err, and of which the judge sees quotes alone."""
    asked, found = setting.asked(DEEP), {}
    for turns in range(1, TURNS):
        found[f"debate/{turns} turns"] = setting.accuracy(Debate(turns), asked)
    found["debate/quotes"] = setting.accuracy(Debate(TURNS, quotes=LONG_ENOUGH), asked)
    for errors in ERRORS:
        found[f"debate/errors {errors}"] = setting.accuracy(Debate(TURNS), asked, errors)
        found |= {f"{name}/errors {errors}": value for name, value in setting.consulted(asked, errors).items()}
    return {f"depth {DEEP}/{name}": value for name, value in found.items()}


def of_seed(seed: int, n: int, training: float) -> Figures:
    """All figures of a seed, by kind of tree and size of judge; `training`: the share of trees and steps."""
    found: Figures = {}
    for kind in KINDS.values():
        for name, size in SIZES.items():
            setting = Setting(kind, judge_of(kind, size, seed, training), seed, n)
            row = by_depth(setting) | put_to_the_test(setting)
            row |= amplified_by_depth(setting.judge, setting.asked, DEPTHS)
            found |= {f"{kind.name}/{name}/{figure}": value for figure, value in row.items()}
        more = learned(kind, setting.asked, seed, training)
        found |= {f"{kind.name}/{figure}": value for figure, value in more.items()}
    judge = judge_of(LOGIC, SIZES["medium"], seed, training)
    found |= {f"logic/{figure}": value for figure, value in policies(judge, seed, training).items()}
    return found


def draw(figures: dict[str, dict[str, float]], path: Path) -> None:
    """Accuracy against depth, a row a kind and a column a size."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    figure.suptitle("accuracy of the judge against depth, SIMULATED experts")
    axes = figure.subplots(len(KINDS), len(SIZES), sharex=True, sharey=True)
    for (kind, size), axis in zip(product(KINDS, SIZES), axes.ravel(), strict=True):
        for name in ("direct", "consultancy", "debate"):
            rows = [figures[f"{kind}/{size}/depth {depth}/{name}"] for depth in DEPTHS]
            (line,) = axis.plot(DEPTHS, [row["mean"] for row in rows], marker="o", label=name)
            low, high = ([row[end] for row in rows] for end in ("low", "high"))
            axis.fill_between(DEPTHS, low, high, color=line.get_color(), alpha=0.2)
        axis.axhline(0.5, color="grey", linewidth=0.8)
        axis.set(title=f"{kind}, {size} judge", ylim=(0.3, 1.03))
        axis.grid(alpha=0.3)
    axes[0, 0].legend()
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="at least two")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--questions", type=int, default=100, help="of every depth, a seed")
    parser.add_argument("--training", type=float, default=1.0, help="share of every training's trees and steps")
    parser.add_argument("--picture", type=Path, help="where to draw accuracy against depth")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    seeds, started = list(range(asked.first_seed, asked.first_seed + asked.seeds)), time.monotonic()
    found = [of_seed(seed, asked.questions, asked.training) for seed in seeds]
    figures = {name: interval([f[name] for f in found]) for name in found[0]}
    if asked.picture:
        draw(figures, asked.picture)
    sizes = {name: {"hidden": size.hidden, "layers": size.layers} for name, size in SIZES.items()}
    given: dict[str, Any] = {"simulated_experts": True, "seeds": seeds, "questions": asked.questions}
    given |= {"training": asked.training, "judges": sizes, "seconds": round(time.monotonic() - started, 1)}
    print(json.dumps({"benchmark": "oversight", **given, "figures": figures, **described()}))


if __name__ == "__main__":
    main()
