"""Labels, aggregation and the first error against tables worked by hand; and that a model learns which step is wrong."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tasks.rlhf.encoding import encode_prompts, stop_token_id
from tasks.rlhf.models import load_tokenizer, merged, save_model, with_lora
from tasks.rlhf.process_reward import (
    Encoded,
    aggregate,
    best_threshold,
    encode_solutions,
    first_error,
    load_process_model,
    new_process_model,
    outcome_targets,
    process_targets,
    right_head,
    step_probabilities,
)
from tasks.rlhf.process_trainer import label_loss, train_on_steps

LORA = SimpleNamespace(rank=4, alpha=8, dropout=0.0)
SETTINGS = SimpleNamespace(epochs=3, batch=8, learning_rate=5e-3, max_length=64, bf16=False)
ROW = Encoded(ids=list(range(9)), start=2, ends=[3, 5, 8])  # steps of the tokens 2–3, 4–5 and 6–8
X = -100
WRONG = 40


@pytest.mark.parametrize(
    ("labels", "level", "targets"),
    [
        ([True, True, True], "step", [X, X, X, 1, X, 1, X, X, 1]),
        ([True, False, False], "step", [X, X, X, 1, X, 0, X, X, X]),
        ([False, True, True], "step", [X, X, X, 0, X, X, X, X, X]),
        ([True, False, False], "token", [X, X, 1, 1, 0, 0, X, X, X]),
        ([True, True, True], "token", [X, X, 1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_labels_end_with_the_first_wrong_step(labels: list[bool], level: Any, targets: list[int]) -> None:
    assert process_targets(ROW, labels, level) == targets


@pytest.mark.parametrize(
    ("right", "level", "targets"),
    [(True, "step", [X] * 8 + [1]), (False, "step", [X] * 8 + [0]), (False, "token", [X, X] + [0] * 7)],
)
def test_the_outcome_is_read_at_the_last_end(right: bool, level: Any, targets: list[int]) -> None:
    assert outcome_targets(ROW, right, level) == targets


def test_loss_is_of_the_tokens_that_are_read() -> None:
    """softmax(0, ln 3) = (¼, ¾): −ln ¾ for the right one, −ln ¼ for the wrong one."""
    logits = torch.tensor([[[0.0, np.log(3.0)], [9.0, -9.0], [0.0, np.log(3.0)]]])
    assert float(label_loss(logits, torch.tensor([[1, X, 0]]))) == pytest.approx(-np.log(0.75) - np.log(0.25))


def test_aggregation() -> None:
    steps = np.array([0.5, 0.25, 0.75])
    assert [aggregate(steps, rule) for rule in ("product", "min", "last")] == [0.09375, 0.25, 0.75]


def test_the_first_error_is_the_first_step_below_the_threshold() -> None:
    steps = np.array([0.9, 0.4, 0.1])
    assert [first_error(steps, t) for t in (0.05, 0.4, 0.41, 0.95)] == [None, 2, 1, 0]


def test_the_threshold_finds_most_first_errors() -> None:
    """Only between .3 and .4 both are found. In the last case each of .2, .4, .6 and .8 finds two of three: the middle is taken."""
    steps, truth = [np.array([0.8, 0.3, 0.2]), np.array([0.6, 0.4])], [1, None]
    assert best_threshold(steps, truth) == pytest.approx(0.35)
    assert best_threshold([np.array([0.9, 0.8]), np.array([0.2])], [None, 0]) == pytest.approx(0.5)
    assert best_threshold([], []) == 0.5
    steps, truth = [np.array([0.9]), np.array([0.1]), np.array([0.3, 0.5, 0.7])], [None, 0, 1]
    assert best_threshold(steps, truth) == pytest.approx(0.6)


def test_steps_are_lines_of_the_answer(tiny_model_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_model_folder)
    stop, prompt = stop_token_id(tokenizer), [{"role": "user", "content": "How many?"}]
    steps = ["One and\n one.", "", "So two."]
    (row,) = encode_solutions(tokenizer, [prompt], [steps], stop)
    assert row.ids[: row.start] == encode_prompts(tokenizer, [prompt], 100)[0]
    answer = row.ids[row.start :]
    assert tokenizer.decode(answer[:-1]) == "One and one.\n\nSo two." and answer[-1] == stop
    assert [tokenizer.decode(row.ids[at]) for at in row.ends[:2]] == ["\n", "\n"]
    assert row.ends[2] == len(row.ids) - 1


def planted(n: int) -> tuple[list[Encoded], list[list[bool]]]:
    """Three steps of random tokens each; a step with the token WRONG is wrong."""
    draw, rows, labels = random.Random(5), [], []
    for _ in range(n):
        at = draw.randrange(4)
        steps = [[draw.randrange(50, 400) for _ in range(draw.randrange(3, 6))] for _ in range(3)]
        if at < 3:
            steps[at][1] = WRONG
        ids, ends = [7, 8], []
        for step in steps:
            ids += [*step, 1]
            ends.append(len(ids) - 1)
        rows.append(Encoded(ids, 2, ends))
        labels.append([k < at for k in range(3)])
    return rows, labels


@pytest.mark.parametrize("level", ["step", "token"])
def test_learns_which_step_is_wrong(tiny_model_folder: Path, tmp_path: Path, level: Any) -> None:
    rows, labels = planted(300)
    model = new_process_model(tiny_model_folder, 0, seed=1)
    assert not model.training or model.dropout.p == 0.0
    examples = [(r.ids, process_targets(r, x, level)) for r, x in zip(rows, labels, strict=True)]
    train_on_steps(model, 0, examples[60:], examples[:60], SETTINGS, 7, lambda *_: None, "process")
    found = step_probabilities(model, rows[:60], 0)
    truth = [x.index(False) if False in x else None for x in labels[:60]]
    threshold = best_threshold(found[:30], truth[:30])
    right = np.mean([first_error(p, threshold) == at for p, at in zip(found[30:], truth[30:], strict=True)])
    assert right > 0.8

    save_model(model, load_tokenizer(tiny_model_folder), tmp_path / "kept")
    again = load_process_model(tmp_path / "kept")
    assert again.config.id2label == {0: "wrong", 1: "right"}
    alone = [step_probabilities(again, [row], 0)[0] for row in rows[:5]]  # no row is changed by the others' padding
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(alone, found, strict=False))
    with torch.no_grad():
        logits = again(torch.tensor([rows[0].ids])).logits[0, rows[0].ends]
    assert np.allclose(logits.softmax(-1)[:, 1].numpy(), found[0], atol=1e-5)
    hidden = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    expected = again.score(hidden).softmax(-1)[:, 1]
    assert torch.equal(right_head(again)(hidden), expected)


def test_with_adapters_the_head_is_trained_whole_and_the_trunk_by_a_low_rank(tiny_model_folder: Path) -> None:
    rows, labels = planted(120)
    examples = [(r.ids, process_targets(r, x, "step")) for r, x in zip(rows, labels, strict=True)]
    before = new_process_model(tiny_model_folder, 0, seed=1)
    adapted = with_lora(new_process_model(tiny_model_folder, 0, seed=1), LORA, "TOKEN_CLS", 1)
    settings = SimpleNamespace(**vars(SETTINGS) | {"learning_rate": 2e-2, "epochs": 1})
    train_on_steps(adapted, 0, examples[20:], examples[:20], settings, 7, lambda *_: None, "process")
    model = merged(adapted)
    seen = step_probabilities(model, rows[:5], 0)
    assert model.state_dict().keys() == before.state_dict().keys()
    change = {name: value - before.state_dict()[name] for name, value in model.state_dict().items()}
    matrix = "model.layers.0.mlp.up_proj.weight"
    assert 0 < torch.linalg.matrix_rank(change[matrix], rtol=1e-4) <= LORA.rank
    assert not torch.equal(change["score.weight"], torch.zeros_like(change["score.weight"]))
    assert torch.equal(change["model.embed_tokens.weight"], torch.zeros_like(change["model.embed_tokens.weight"]))
    assert any(not np.allclose(a, b) for a, b in zip(seen, step_probabilities(before, rows[:5], 0), strict=True))


def test_the_dev_loss_is_the_mean_over_what_is_read(tiny_model_folder: Path) -> None:
    rows, labels = planted(24)
    model = new_process_model(tiny_model_folder, 0, seed=1)
    examples = [(r.ids, process_targets(r, x, "step")) for r, x in zip(rows, labels, strict=True)]
    dev = examples[:8]  # one batch
    best = train_on_steps(model, 0, examples, dev, SETTINGS, 7, lambda *_: None, "process")
    found = step_probabilities(model, rows[:8], 0)
    losses = []
    for p, x in zip(found, labels[:8], strict=True):
        read = x[: x.index(False) + 1] if False in x else x
        losses += [-np.log(q if right else 1 - q) for q, right in zip(p, read, strict=False)]
    assert best["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
