"""Alignment tax: what the model can do before and after each step, base to SFT to policy.

`bits_per_byte`: of written solutions after their problems, −log₂ π / bytes, which no tokenizer changes; `exact_match`:
the last number of the likeliest answer is the solution's (Cobbe et al. 2021).
"""

import math
import re

import numpy as np

from governance.errors import BadInput
from tasks.evals.bench import GREEDY, MAX_PROMPT_TOKENS, Bench
from tasks.evals.compare import by_model
from tasks.evals.files import each, need, user
from tasks.evals.multiple_choice import STEPS
from tasks.evals.result import Outcome
from tasks.reading import read_rows
from tasks.rlhf.encoding import encode_prompts

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
MARKS = re.compile(r"<<[^>]*>>")
ANSWER_TOKENS = 96
LONGEST = 256  # tokens of a written solution
Problem = tuple[str, str, str]  # question, written solution, result


def run(bench: Bench) -> Outcome:
    """Every file of `suite.problems`: question, answer that ends with `#### result`."""
    outcome = Outcome()
    for name, path, rows in each(bench.settings.problems, read_problems):
        some = [rows[i] for i in bench.some(len(rows))]
        clusters = np.arange(len(some))
        figures = {"bits_per_byte": bits_per_byte, "exact_match": _matches}
        for figure, measure in figures.items():
            values = {m: measure(bench, m, some) for m in bench.policies}
            outcome.results += by_model(bench, f"capability/{figure}", values, clusters, {name: path}, None, STEPS)
    return outcome


def read_problems(path: str) -> list[Problem]:
    """Problems of a file: question, answer that ends with `#### result` or holds a number."""
    rows = []
    for place, row in read_rows(path):
        answer = need(row, "answer", place)
        steps, mark, result = answer.rpartition("####")
        if not mark and not NUMBER.search(answer):
            raise BadInput(f"{place}: field answer: has no number and no `#### result`.")
        rows.append((need(row, "question", place), MARKS.sub("", steps or answer).strip(), result if mark else answer))
    return rows


def bits_per_byte(bench: Bench, model: str, rows: list[Problem]) -> np.ndarray:
    """(n,) bits per byte of each written solution after its question."""
    tokenizer, _ = bench.language_model(model)
    prompts = encode_prompts(tokenizer, [user(q) for q, _, _ in rows], MAX_PROMPT_TOKENS)
    solutions = [tokenizer(s, add_special_tokens=False)["input_ids"][:LONGEST] for _, s, _ in rows]
    size = np.array([len(tokenizer.decode(s).encode()) for s in solutions])
    sums = bench.logprobs(model, [(p, [s]) for p, s in zip(prompts, solutions, strict=True)])
    return -np.array([s[0] for s in sums]) / math.log(2) / size


def _matches(bench: Bench, model: str, rows: list[Problem]) -> np.ndarray:
    answers = bench.respond(
        model, [user(q) for q, _, _ in rows], samples=1, temperature=GREEDY, max_new_tokens=ANSWER_TOKENS
    )
    right = [last_number(t) == last_number(result) for t, (_, _, result) in zip(answers.texts, rows, strict=True)]
    return np.array(right, dtype=float)


def last_number(text: str) -> float | None:
    """The last number in a text."""
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
