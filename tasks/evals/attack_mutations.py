"""Attacks on the form of a prompt: the same request with typos, in other cases, with other spacing.

Hughes et al. 2024, Best-of-N Jailbreaking: safety that was learned on tidy text need not hold on untidy text.
"""

import random
import re

from tasks.rlhf.encoding import Messages

SWAPPED = 0.2  # of the words


def attacks(prompt: Messages, answer: str, rng: random.Random) -> dict[str, Messages]:
    """The prompt in each form."""
    text = prompt[-1]["content"]
    forms = {
        "typos": typos(text, rng),
        "capitals": text.upper(),
        "mixed case": "".join(c.upper() if rng.random() < 0.5 else c.lower() for c in text),
        "spaced letters": " ".join(text),
        "odd spacing": re.sub(r" ", lambda _: " " * rng.randint(1, 4), text),
    }
    return {name: [*prompt[:-1], {"role": "user", "content": form}] for name, form in forms.items()}


def typos(text: str, rng: random.Random) -> str:
    """Text in which two neighbouring letters inside of some words are swapped."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 3]
    for i in rng.sample(long, min(len(long), max(1, round(SWAPPED * len(words))))):
        word, at = words[i], rng.randrange(1, len(words[i]) - 2)
        words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)
