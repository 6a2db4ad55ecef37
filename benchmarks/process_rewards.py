"""Process against outcome rewards: python -m benchmarks.process_rewards --on chains|traces [--seeds 5 --first-seed 0]; one JSON
line.

chains: generated sums, whose truth is known. A problem is seven digits, a solution their running total modulo five, a digit and
the total a step. A tiny language model learns to write solutions, and errs when it samples hot; the verifiers are heads on that model,
trained on the same solutions of its own to problems of their own, with labels that are computed: of each step up to the first
wrong one (process), or of the answer (outcome). Each then picks one of `--n` samples to each of 200 new problems. No person
labelled or wrote anything.

traces: BIG-Bench Mistake and GSM8K with SIMULATED mistakes, by the settings `process` of params.yaml, on the
shipped base model of 6 M parameters. The sides of the split are the same for every seed, which draws heads, order of rows and
mistakes.

Intervals are Student's over the seeds (level .95); of traces with one seed those of the stage, over problems.
"""

import argparse
import json
import random
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.machine import described
from benchmarks.seeds import interval
from tasks import params, process_measures
from tasks.process_rewards import SEEDS, Part, labelled, parts_of, thresholds_of
from tasks.rlhf.encoding import stop_token_id
from tasks.rlhf.models import load_tokenizer
from tasks.rlhf.pretrain import PretrainConfig, build_model
from tasks.rlhf.process_reward import Encoded, encode_solutions, new_process_model, step_probabilities
from tasks.rlhf.process_trainer import train_on_steps
from tasks.rlhf.rollout import sample
from tasks.step_solutions import Side, Solution, read_solutions

ROOT = Path(__file__).resolve().parents[1]
BASE, LENGTH = 5, 6  # of the totals, and how many a chain has
PAD, STOP, IS = BASE, BASE + 1, BASE + 2
GOOD, LONGEST, TEMPERATURE, PROBLEMS, DEV = 0.97, 3000, 1.5, 200, 0.2
LABELLED = ((1000, "step"), (1000, "token"), (4000, "step"))  # how many solutions have labels, and where
SEEN = 12_000  # rows in an epoch, of all passes: early stopping looks twice an epoch, and these models learn late
TRAINING: dict[str, Any] = {"epochs": 1, "batch": 32, "learning_rate": 1e-3, "max_length": 64, "bf16": False}
LEVELS, RULES = ("step", "token"), ("product", "min", "last")


def chain(draw: random.Random) -> tuple[list[int], list[int]]:
    """(prompt, right solution): the numbers; then of each the number and the total so far, ended by STOP."""
    numbers = [draw.randrange(BASE) for _ in range(LENGTH + 1)]
    steps = [token for k in range(LENGTH) for token in (numbers[k + 1], sum(numbers[: k + 2]) % BASE)]
    return [*numbers, IS], [*steps, STOP]


def judged(prompt: list[int], response: list[int], name: str) -> tuple[Solution, Encoded]:
    """A written solution with its true labels. What is no number and total more is a step, and a wrong one."""
    ended = response[-1] == STOP
    body = response[:-1] if ended else response
    steps = [body[at : at + 2] for at in range(0, len(body), 2)] or [[]]
    totals = [prompt[0], *(step[-1] if step else PAD for step in steps)]
    labels = [
        len(step) == 2 and k < LENGTH and step == [prompt[k + 1], (totals[k] + prompt[k + 1]) % BASE]
        for k, step in enumerate(steps)
    ]
    labels[-1] = labels[-1] and ended and len(steps) == LENGTH
    answer = totals[-1]
    right = ended and len(steps) == LENGTH and answer == sum(prompt[:-1]) % BASE
    texts = [" ".join(map(str, step)) for step in steps]
    asked = [{"role": "user", "content": " ".join(map(str, prompt))}]
    ends = [len(prompt) + min(2 * k + 1, len(body) - 1) for k in range(len(steps))]
    ends[-1] = len(prompt) + len(response) - 1
    return Solution(name, "chains", asked, texts, labels, str(answer), right), Encoded(
        prompt + response, len(prompt), ends
    )


def writer(seed: int) -> Any:
    """A tiny language model that learnt chains until, over the last ten batches, `GOOD` of the totals were right."""
    torch.manual_seed(seed)
    config = PretrainConfig(vocab_size=STOP + 2, hidden_size=64, layers=3, heads=4, kv_heads=4, intermediate_size=128)
    model, draw = build_model(config, PAD, STOP), random.Random(f"writer {seed}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    right: list[float] = []
    while len(right) < LONGEST and (len(right) < 10 or np.mean(right[-10:]) < GOOD):
        ids = torch.tensor([prompt + solution for prompt, solution in (chain(draw) for _ in range(32))])
        logits, wanted = model(input_ids=ids[:, :-1]).logits[:, LENGTH + 1 :], ids[:, LENGTH + 2 :]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right.append(float((logits.argmax(-1) == wanted)[:, 1:-1:2].float().mean()))
    return model


def written(model: Any, problems: list[list[int]], each: int, seed: int) -> Part:
    """`each` sampled solutions of every problem."""
    prompts = [p for p in problems for _ in range(each)]
    found = sample(
        model,
        prompts,
        pad_token_id=PAD,
        stop_token_id=STOP,
        max_new_tokens=2 * LENGTH + 3,
        temperature=TEMPERATURE,
        generator=torch.Generator().manual_seed(seed),
        group=512,
    )
    responses = [ids[mask.bool()].tolist() for ids, mask in zip(found.response_ids, found.mask, strict=True)]
    both = [judged(p, r, str(k)) for k, (p, r) in enumerate(zip(prompts, responses, strict=True))]
    return Part([s for s, _ in both], [row for _, row in both])


def on_chains(seed: int, n: int) -> dict[str, float]:
    """Figures by how many solutions were labelled, and the level of the labels."""
    draw, figures = random.Random(f"chains {seed}"), {}
    model = writer(seed)
    test = written(model, [chain(draw)[0] for _ in range(PROBLEMS)], n, seed)
    figures["writer/right"] = float(np.mean([s.right for s in test.solutions]))
    figures["writer/right_with_a_wrong_step"] = float(np.mean([s.right and not all(s.labels) for s in test.solutions]))
    with tempfile.TemporaryDirectory() as name:
        model.save_pretrained(name)
        for labels, level in LABELLED:
            own = written(model, [chain(draw)[0] for _ in range(labels)], 1, seed + 1)
            cut, passes = int(labels * DEV), SEEN // labels
            parts: dict[Side, Part] = {
                "train": Part(own.solutions[cut:] * passes, own.rows[cut:] * passes),
                "dev": Part(own.solutions[:cut], own.rows[:cut]),
                "test": test,
            }
            found = verified(Path(name), PAD, parts, level, SimpleNamespace(**TRAINING), seed)
            figures |= {f"{labels}/{level}/{row['name']}": row["value"] for row in found}
    return figures


def on_traces(seed: int, level: str, sizes: dict[str, int]) -> list[dict[str, Any]]:
    """Rows of figures of the shipped base model, whose SFT is left out."""
    settings = params.load(ROOT / "params.yaml").process.model_copy(update=sizes)
    folder = ROOT / "data/raw/attestrl-small"
    tokenizer = load_tokenizer(folder)
    given = read_solutions(settings, seed)
    rows = encode_solutions(tokenizer, [s.prompt for s in given], [s.steps for s in given], stop_token_id(tokenizer))
    fits = [k for k, row in enumerate(rows) if len(row.ids) <= settings.max_length]
    parts = parts_of([given[k] for k in fits], [rows[k] for k in fits], settings.dev_share)
    counts = {f"solutions/{side}": len(part.rows) for side, part in parts.items()}
    counts["solutions/too_long"] = len(rows) - len(fits)
    found = verified(folder, tokenizer.pad_token_id, parts, level, settings, seed, resamples=1000)
    return found + [{"name": name, "value": float(n)} for name, n in counts.items()]


def verified(
    folder: Path, pad: int, parts: dict[Side, Part], level: Any, settings: Any, seed: int, resamples: int = 2
) -> list[dict[str, Any]]:
    """Train both models on the same solutions, and measure them as the stage does."""
    models = {}
    for name, added in SEEDS.items():
        models[name] = new_process_model(folder, pad, seed + added)
        sides = [labelled(name, parts[side], level) for side in ("train", "dev")]
        train_on_steps(models[name], pad, sides[0], sides[1], settings, seed + added, lambda *_: None, name)
    test = parts["test"].solutions
    steps, answers = (step_probabilities(m, parts["test"].rows, pad, bf16=settings.bf16) for m in models.values())
    held = step_probabilities(models["process"], parts["dev"].rows, pad, bf16=settings.bf16)
    last, train = np.array([p[-1] for p in answers]), parts["train"].solutions
    thresholds = thresholds_of(held, parts["dev"].solutions)
    drawn: dict[str, Any] = {"level": 0.95, "resamples": resamples, "seed": seed}
    rows = process_measures.locations(test, steps, thresholds, train, drawn)
    rows += process_measures.outcomes(test, last, train, drawn)
    rows += process_measures.calibrations(test, steps, last, drawn)
    for rule in RULES:
        chosen = process_measures.selections(test, steps, last, rule, drawn)
        rows += [row | {"name": row["name"].replace("process", f"process_{rule}")} for row in chosen]
    return [row for k, row in enumerate(rows) if row["name"] not in {r["name"] for r in rows[:k]}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", choices=["chains", "traces"], required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=8, help="chains: samples that one is picked of")
    parser.add_argument("--level", choices=LEVELS, default="step", help="traces: where labels stand; chains have both")
    parser.add_argument("--solutions", type=int, default=10_000, help="traces: process.solutions")
    parser.add_argument("--simulated", type=int, default=500, help="traces: process.simulated")
    asked = parser.parse_args()
    seeds = list(range(asked.first_seed, asked.first_seed + asked.seeds))
    sizes = {"solutions": asked.solutions, "simulated": asked.simulated}
    if asked.on == "chains":
        found = [on_chains(seed, asked.n) for seed in seeds]
        given: dict[str, Any] = {"n": asked.n}
    else:
        rows = [on_traces(seed, asked.level, sizes) for seed in seeds]
        found = [{row["name"]: row["value"] for row in some} for some in rows]
        given = {"level": asked.level, **sizes}
    figures: Any = rows[0] if len(seeds) == 1 and asked.on == "traces" else over(found)
    given = {"on": asked.on, "simulated_mistakes": True, "seeds": seeds, **given}
    print(json.dumps({"benchmark": "process_rewards", **given, "figures": figures, **described()}))


def over(found: list[dict[str, float]]) -> dict[str, Any]:
    """Each figure over the seeds."""
    return {name: interval([f[name] for f in found]) for name in found[0]}


if __name__ == "__main__":
    main()
