"""Bradley–Terry ratings over base, SFT, this policy and the others of the registry, in Elo points above SFT.

Everybody meets everybody on the same held-out prompts, one response each, by the judge; intervals draw prompts.
"""

import numpy as np

from tasks.evals.bench import Bench
from tasks.evals.held_out import held_out_prompts
from tasks.evals.result import Outcome
from tasks.stats.bradley_terry import ELO, strengths


def run(bench: Bench) -> Outcome:
    """Ratings of all."""
    outcome = Outcome()
    prompts = held_out_prompts(bench)
    names = [*bench.policies, *bench.rated]
    scores = []
    for name in names:
        answers = bench.respond(name, prompts, samples=1)
        scores.append(bench.score("judge", answers.ids, answers.lengths))
        if name in bench.rated:  # there may be many
            bench.unload(name)
    stacked = np.stack(scores)  # (players, prompts)
    wins = (stacked[:, None] > stacked[None]) + 0.5 * (stacked[:, None] == stacked[None])
    wins *= (1 - np.eye(len(names)))[:, :, None]
    sft = names.index("sft")
    where, rows = {"eval_prompts": bench.sides["eval_prompts"]}, np.arange(len(prompts))
    for i, name in enumerate(names):
        if name == "sft":
            continue

        def rating(drawn: np.ndarray, i: int = i) -> float:
            theta = strengths(wins[:, :, drawn].sum(2), tolerance=1e-6)
            return float(ELO * (theta[i] - theta[sft]))

        estimate = bench.bootstrap(rating, rows, 200)
        metric = f"ratings/elo_above_sft/{name}".replace(" ", "_")
        outcome.results.append(bench.result(metric, estimate, len(prompts), where, [name, "sft", "judge"]))
    if not bench.rated:
        outcome.notes.append("The registry holds no other policy.")
    return outcome
