"""Multiple choice by log-probability: truthfulness, consistency, knowledge, whatever the file asks.

The choice with the highest log-probability (`accuracy`), the same per byte so that long choices are not put at a
disadvantage (`accuracy_by_byte`), the probability on right choices (`mass`, MC2 of TruthfulQA), and how far the
probability of the choice taken is from being right that often (`overconfidence`: mean probability less accuracy).
"""

import numpy as np
from scipy.special import softmax

from tasks.evals.bench import MAX_PROMPT_TOKENS, Bench
from tasks.evals.compare import by_model
from tasks.evals.files import Question, each, read_questions, user
from tasks.evals.result import Outcome
from tasks.rlhf.encoding import encode_prompts

STEPS = (("sft", "base"), ("policy", "sft"))


def run(bench: Bench) -> Outcome:
    """Every file of `suite.multiple_choice`."""
    outcome = Outcome()
    for name, path, questions in each(bench.settings.multiple_choice, read_questions):
        some = [questions[i] for i in bench.some(len(questions), 3 * bench.settings.items)]
        every = {m: _figures(some, choice_logprobs(bench, m, some)) for m in bench.policies}
        rows = np.arange(len(some))
        for figure in ("accuracy", "accuracy_by_byte", "mass", "overconfidence"):
            values = {m: f[figure] for m, f in every.items()}
            outcome.results += by_model(
                bench, f"multiple_choice/{name}/{figure}", values, rows, {name: path}, None, STEPS
            )
        chance = float(np.mean([len(q.right) / len(q.choices) for q in some]))
        outcome.notes.append(f"{name}: guessing is right on {chance:.3f} of {len(some)} questions.")
    return outcome


def choice_logprobs(bench: Bench, model: str, questions: list[Question]) -> list[list[float]]:
    """Log-probability of each choice after the question, in the model's chat template."""
    tokenizer, _ = bench.language_model(model)
    prompts = encode_prompts(tokenizer, [user(q.question) for q in questions], MAX_PROMPT_TOKENS)
    choices = [[tokenizer(c.strip(), add_special_tokens=False)["input_ids"] for c in q.choices] for q in questions]
    return bench.logprobs(model, list(zip(prompts, choices, strict=True)))


def _figures(questions: list[Question], logprobs: list[list[float]]) -> dict[str, np.ndarray]:
    figures: dict[str, list[float]] = {k: [] for k in ("accuracy", "accuracy_by_byte", "mass", "overconfidence")}
    for question, found in zip(questions, logprobs, strict=True):
        probabilities = softmax(found)
        by_byte = np.array(found) / [max(1, len(c.strip().encode())) for c in question.choices]
        right = float(int(np.argmax(found)) in question.right)
        figures["accuracy"].append(right)
        figures["accuracy_by_byte"].append(float(int(np.argmax(by_byte)) in question.right))
        figures["mass"].append(float(probabilities[question.right].sum()))
        figures["overconfidence"].append(float(probabilities.max()) - right)
    return {name: np.array(values) for name, values in figures.items()}
