"""What the stage `reward` measures of its models: on the test side, and on the dev part that nothing was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from governance.digest import write_jsonl
from tasks import paths
from tasks.reward_baselines import bag_of_words_correct, length_correct, length_gaps
from tasks.reward_calibration import calibrate
from tasks.reward_criteria import measure
from tasks.reward_distribution import contested
from tasks.reward_distribution import measure as measure_distribution
from tasks.reward_length import correlation_row
from tasks.rlhf.encoding import encode_pairs, stop_token_id
from tasks.rlhf.ensembles import ensemble_scores, load_ensemble
from tasks.rlhf.models import load_tokenizer
from tasks.rlhf.reward_trainer import RankedRow
from tasks.stage import Stage
from tasks.stats.intervals import bootstrap_mean, wilson_clustered

TRAIN = paths.PROCESSED / "reward_train.parquet"
TEST = paths.PROCESSED / "reward_test.parquet"
LEVEL = 0.95
RESAMPLES = 1000
Row = dict[str, Any]


@dataclass(frozen=True)
class Pairs:
    """Conversations as token ids, the better one first, and the tokens of the responses in them."""

    conversations: list[tuple[list[int], list[int]]]
    lengths: list[tuple[int, int]]

    @property
    def log_gaps(self) -> np.ndarray:
        """(n,) difference in log length."""
        gaps: np.ndarray = np.diff(np.log(self.lengths)[:, ::-1])[:, 0]
        return gaps


def measured(stage: Stage, dev: list[RankedRow]) -> list[Row]:
    """Rows of `metrics.json`: {name, value, low, high, n, slice}; `slice` is null where all of the test side counts.
    `dev`: of the reward model."""
    test = pl.read_parquet(TEST)
    pairs = _pairs_of(stage, test)
    margins = {name: _margins(stage, folder, pairs) for name, folder in _models().items()}
    rows = _metrics(stage, test, margins) + _calibration(stage, dev, test, margins["reward"])
    if stage.params.reward.criteria:
        rows += _by_criterion(stage, dev, test, pairs)
    if stage.params.stakeholders.distribution:
        rows += _distribution(stage, dev, test, pairs)
    if stage.params.reward.length_debias:
        rows += _length_left(stage, test, pairs, margins["reward"])
    return rows


def _models() -> dict[str, Path]:
    return {"reward": paths.REWARD, "judge": paths.JUDGE}


def _pairs_of(stage: Stage, test: pl.DataFrame) -> Pairs:
    tokenizer = load_tokenizer(paths.REWARD, trust_remote_code=stage.params.base.trust_remote_code)
    stop, longest = stop_token_id(tokenizer), stage.params.reward.max_length
    prompts = test["prompt"].to_list()
    sides = [encode_pairs(tokenizer, prompts, test[s].to_list(), stop, longest) for s in ("chosen", "rejected")]
    both = list(zip(*sides, strict=True))
    return Pairs([(c[0] + c[1], r[0] + r[1]) for c, r in both], [(len(c[1]), len(r[1])) for c, r in both])


def _pairs_of_rankings(rankings: Sequence[RankedRow]) -> tuple[Pairs, np.ndarray, np.ndarray]:
    """(pairs, weights, number of the ranking) of rankings that were tokenised for training."""
    pairs = Pairs(
        [pair for r in rankings for pair in combinations(r.answers, 2)],
        [pair for r in rankings for pair in combinations(r.lengths, 2)],
    )
    number = np.repeat(np.arange(len(rankings)), [len(r.weights) for r in rankings])
    return pairs, np.array([w for r in rankings for w in r.weights]), number


def _margins(
    stage: Stage, folder: Path, pairs: Pairs, *, heads_apart: bool = False, with_length: bool = False
) -> np.ndarray:
    """(n,) score of the better less score of the other; (n, C) of C heads apart. `with_length` leaves in what is taken
    off for length."""
    scores = _scores(stage, folder, pairs, heads_apart=heads_apart, with_length=with_length)
    margins: np.ndarray = (scores[:, 0] - scores[:, 1]).numpy()
    return margins.reshape(len(margins), -1) if heads_apart else margins


def _scores(
    stage: Stage, folder: Path, pairs: Pairs, *, heads_apart: bool = False, with_length: bool = False
) -> torch.Tensor:
    """(n, 2) scores, of the better answer first; (n, 2, C) of C heads apart."""
    model = load_ensemble(folder, heads_apart=heads_apart, trust_remote_code=stage.params.base.trust_remote_code)
    if with_length:
        for member in model.members:
            member.config.length_effect = None
    rows, lengths = list(chain(*pairs.conversations)), list(chain(*pairs.lengths))
    scores = ensemble_scores(model, rows, lengths=lengths, bf16=stage.params.reward.bf16)
    return scores.reshape(-1, 2, *scores.shape[1:])


def _calibration(stage: Stage, dev: list[RankedRow], test: pl.DataFrame, margins: np.ndarray) -> list[Row]:
    pairs, weights, rankings = _pairs_of_rankings(dev)
    rows = calibrate(stage, _margins(stage, paths.REWARD, pairs), weights, rankings, test, margins, LEVEL)
    for row in rows:
        table = TRAIN if row["name"] == "calibration/temperature" else TEST
        stage.log_metrics({row["name"]: row["value"]}, model=paths.REWARD, table=table)
    return rows


def _by_criterion(stage: Stage, dev: list[RankedRow], test: pl.DataFrame, pairs: Pairs) -> list[Row]:
    """Each head of the reward model on the pairs of its own criterion."""
    said = test["criterion"] if "criterion" in test.columns else pl.Series([None] * test.height, dtype=pl.String)
    margins, together = _margins(stage, paths.REWARD, pairs, heads_apart=True), rankings_in(test)
    rows: list[Row] = []
    for k, criterion in enumerate(stage.params.reward.criteria):
        held_out, weights, numbers = _pairs_of_rankings([r for r in dev if r.head == k])
        own = _margins(stage, paths.REWARD, held_out, heads_apart=True)[:, k] if len(weights) else np.zeros(0)
        at = (said == criterion).fill_null(False).to_numpy()
        of_dev = (own, weights, numbers)
        drawn = {"level": LEVEL, "seed": stage.seed}
        rows += measure(criterion, of_dev, test.filter(pl.Series(at)), margins[at, k], together[at], drawn)
    for row in rows:
        if row["value"] is not None:
            table = TRAIN if row["name"].startswith("calibration/temperature") else TEST
            stage.log_metrics({row["name"]: row["value"]}, model=paths.REWARD, table=table)
    return rows


def _distribution(stage: Stage, dev: list[RankedRow], test: pl.DataFrame, pairs: Pairs) -> list[Row]:
    """What the spreads of the reward model's distributions say; writes `contested.jsonl`."""
    held_out, weights, _ = _pairs_of_rankings(dev)
    seen: dict[Any, int] = {}  # a pair that is said both ways counts as one
    numbers = [seen.setdefault(frozenset(map(tuple, answers)), len(seen)) for answers in held_out.conversations]
    of_test, of_dev = (_scores(stage, paths.REWARD, p, heads_apart=True) for p in (pairs, held_out))
    drawn: dict[str, Any] = {"level": LEVEL, "resamples": RESAMPLES, "seed": stage.seed}
    rows = measure_distribution(of_test, of_dev, weights, (rankings_in(test), np.array(numbers)), drawn)
    write_jsonl(stage.report / "contested.jsonl", contested(test["id"].to_list(), of_test))
    for row, table in zip(rows, (TEST, TRAIN), strict=True):
        stage.log_metrics({row["name"]: row["value"]}, model=paths.REWARD, table=table)
    return rows


def _length_left(stage: Stage, test: pl.DataFrame, pairs: Pairs, margins: np.ndarray) -> list[Row]:
    """How the reward model's score goes with length, before its effect is taken off and after."""
    drawn = {"level": LEVEL, "resamples": RESAMPLES, "seed": stage.seed}
    found = {"length/correlation_before": _margins(stage, paths.REWARD, pairs, with_length=True)}
    found["length/correlation"] = margins
    rows = [correlation_row(name, gaps, pairs.log_gaps, rankings_in(test), drawn) for name, gaps in found.items()]
    stage.log_metrics({row["name"]: row["value"] for row in rows}, model=paths.REWARD, table=TEST)
    return rows


def _metrics(stage: Stage, test: pl.DataFrame, margins: dict[str, np.ndarray]) -> list[Row]:
    train = pl.read_parquet(TRAIN)
    right, judged = margins["reward"] > 0, margins["judge"] > 0
    longer = length_gaps(test) > 0
    together = rankings_in(test)
    rows = [
        _rate("accuracy/test", right, together),
        _rate("accuracy/judge_test", judged, together),
        _rate("accuracy/baseline_length", length_correct(train, test), together),
        _rate("accuracy/baseline_bag_of_words", bag_of_words_correct(train, test, stage.seed), together),
        _rate("agreement/reward_judge", right == judged, together),
        _rate("accuracy/test_chosen_longer", right[longer], together[longer], "chosen answer longer"),
        _rate("accuracy/test_chosen_not_longer", right[~longer], together[~longer], "chosen answer not longer"),
    ]
    drawn: dict[str, Any] = {"level": LEVEL, "resamples": RESAMPLES, "seed": stage.seed}
    low, high = bootstrap_mean(margins["reward"], clusters=together, **drawn)
    mean = float(margins["reward"].mean(dtype=np.float64))
    rows.append({"name": "rewards/margins", "value": mean, "low": low, "high": high, "n": test.height, "slice": None})
    for row in rows:
        model = paths.JUDGE if "judge_test" in row["name"] else paths.REWARD
        if row["value"] is not None:
            stage.log_metrics({row["name"]: row["value"]}, model=model, table=TEST)
    return rows


def rankings_in(rows: pl.DataFrame) -> np.ndarray:
    """(n,) number of each row's ranking, whose pairs stand and fall together; a pair of no ranking has its own."""
    own = np.arange(rows.height)
    if "ranking_id" not in rows.columns:
        return own
    first = pl.int_range(pl.len()).min().over("ranking_id")
    either = pl.when(pl.col("ranking_id").is_null()).then(pl.int_range(pl.len())).otherwise(first)
    return rows.select(either.alias("n"))["n"].to_numpy()


def _rate(name: str, correct: np.ndarray, clusters: np.ndarray, part: str | None = None) -> Row:
    n = len(correct)
    low, high = wilson_clustered(correct, clusters, LEVEL)
    value = int(correct.sum()) / n if n else None
    return {"name": name, "value": value, "low": low, "high": high, "n": n, "slice": part}
