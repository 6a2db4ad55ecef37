"""Which of two answers keeps better to a principle, in log-odds: what SFT, or a model behind an endpoint, finds probable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.choice_models import Asked, Preferences, in_both_orders
from tasks.rlhf.encoding import Messages, encode_prompts


@dataclass(frozen=True)
class Case:
    """Two answers to a prompt, and the text of the principle that they are judged by."""

    prompt: Messages
    first: str
    second: str
    text: str


def question(case: Case) -> Messages:
    """What is asked. The principle comes last, beside what is to be said."""
    talk = "\n".join(f"{m['role']}: {m['content']}" for m in case.prompt)
    asked = (
        f"[Conversation]\n{talk}\n\n[Response A]\n{case.first}\n\n[Response B]\n{case.second}\n\n"
        f"A good response {case.text.strip()}\nWhich response is the better one by this alone? Answer with A or B."
    )
    return [{"role": "user", "content": asked}]


def longest(tokenizer: Any, case: Case, texts: Sequence[str]) -> int:
    """Tokens of the longest question about two answers, by any of the principles' `texts`."""
    text = max(texts, key=len)
    return len(encode_prompts(tokenizer, [question(Case(case.prompt, case.first, case.second, text))], 1 << 30)[0])


def preferences(asked: Asked, cases: Sequence[Case]) -> Preferences:
    """What a model prefers in each case."""
    turned = [Case(c.prompt, c.second, c.first, c.text) for c in cases]
    return in_both_orders(asked, [question(c) for c in cases], [question(c) for c in turned])
