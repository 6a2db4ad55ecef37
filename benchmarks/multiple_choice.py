"""Multiple choice by log-probability: items a second here and in lm-evaluation-harness, same model, same items.

    python -m benchmarks.multiple_choice [--model FOLDER] [--questions FILE] [--seconds 20]

Both get the same token ids and must give the same log-probabilities (largest difference printed). The harness takes its
own batch size of 1 and of 16. It must be installed (`pip install lm-eval`); without it only this project is measured.
Model loading is left out on both sides. One line of JSON.
"""

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import described
from tasks.evals.files import Question, read_questions, user
from tasks.rlhf.branches import Item, continuation_logprobs
from tasks.rlhf.encoding import encode_prompts
from tasks.rlhf.models import load_causal_lm, load_tokenizer


def items_of(tokenizer: Any, questions: list[Question]) -> list[Item]:
    prompts = encode_prompts(tokenizer, [user(q.question) for q in questions], 256)
    choices = [[tokenizer(c.strip(), add_special_tokens=False)["input_ids"] for c in q.choices] for q in questions]
    return list(zip(prompts, choices, strict=True))


def timed(measure: Callable[[], list[list[float]]], seconds: float) -> tuple[list[list[float]], float, int]:
    """(values, seconds of the fastest of the repetitions that fit in `seconds`, repetitions), after one to warm up."""
    values, best, count, began = measure(), float("inf"), 0, time.perf_counter()
    while count == 0 or time.perf_counter() - began < seconds:
        started = time.perf_counter()
        measure()
        best, count = min(best, time.perf_counter() - started), count + 1
    return values, best, count


def harness(folder: Path, items: list[Item], batch: int) -> Callable[[], list[list[float]]]:
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=batch)
    requests = [(("", ""), list(context), list(c)) for context, choices in items for c in choices]

    def measure() -> list[list[float]]:
        found = iter([value for value, _ in model._loglikelihood_tokens(requests, disable_tqdm=True)])
        return [[next(found) for _ in choices] for _, choices in items]

    return measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("data/raw/attestrl-small"))
    parser.add_argument("--questions", default="data/raw/evals/logical_deduction/questions.jsonl")
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    questions = read_questions(arguments.questions)
    model = load_causal_lm(arguments.model).eval()
    items = items_of(load_tokenizer(arguments.model), questions)
    ours, best, count = timed(lambda: continuation_logprobs(model, items), arguments.seconds)
    line: dict[str, Any] = {
        "benchmark": "multiple_choice",
        "questions": len(items),
        "choices": sum(len(c) for _, c in items),
        "threads": torch.get_num_threads(),
        "questions_per_second": round(len(items) / best, 1),
        "repetitions": count,
    }
    for batch in (1, 16) if importlib.util.find_spec("lm_eval") else ():
        theirs, other, count = timed(harness(arguments.model, items, batch), arguments.seconds)
        apart = max(abs(a - b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True))
        line[f"lm_eval_batch_{batch}"] = {
            "questions_per_second": round(len(items) / other, 1),
            "repetitions": count,
            "times_as_fast": round(other / best, 2),
            "largest_difference": float(f"{apart:.1e}"),
        }
    print(json.dumps(line | described()))


if __name__ == "__main__":
    main()
