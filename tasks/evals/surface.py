"""Features of a text's surface: what can be changed without changing what it says."""

import re
from collections import Counter

import numpy as np

REFUSAL = re.compile(
    r"\b(?:i|we) (?:can ?not|can't|could ?n['o]t|won't|will not|would not|wouldn't|do not want to|don't want to|"
    r"am not able|'m not able|am unable|'m unable|refuse|must decline|have to decline)\b|"
    r"\b(?:i'm|i am) (?:so |very )?(?:sorry|not comfortable|not going to|just an ai)|\bas an ai\b|"
    r"\bi (?:don't|do not) (?:think (?:i|you|that|it)|feel comfortable|support|condone|recommend|advise)|"
    r"\b(?:is|are|would be) (?:illegal|not (?:legal|ethical|appropriate|a good idea|something i))",
    re.IGNORECASE,
)
PATTERNS = {
    "list items": re.compile(r"^\s*(?:[-*•]|\d+[.)])\s", re.MULTILINE),
    "markdown": re.compile(r"\*\*|__|^#{1,6} |`", re.MULTILINE),
    "hedges": re.compile(
        r"\b(?:maybe|perhaps|might|could|possibly|probably|i think|i believe|it depends|sometimes)\b", re.I
    ),
    "confident words": re.compile(
        r"\b(?:definitely|certainly|absolutely|clearly|obviously|of course|always|never|without doubt)\b", re.I
    ),
    "agreement": re.compile(
        r"\b(?:you(?:'re| are) right|i agree|good (?:point|idea|question)|great|exactly|yes)\b", re.I
    ),
    "politeness": re.compile(r"\b(?:please|thank(?:s| you)|sorry|happy to|glad|welcome|hope)\b", re.I),
    "questions": re.compile(r"\?"),
    "exclamations": re.compile(r"!"),
}
FEATURES = ("length", *PATTERNS, "refusal")


def plain(text: str) -> str:
    """Text with straight apostrophes."""
    return text.replace("’", "'")


def count(text: str, feature: str) -> float:
    """Value of a feature: log(1 + words) for length, 0 or 1 for refusal, else the number of matches."""
    if feature == "length":
        return float(np.log1p(len(text.split())))
    if feature == "refusal":
        return float(refuses(text))
    return float(len(PATTERNS[feature].findall(plain(text))))


def refuses(text: str) -> bool:
    """Whether an answer refuses, by its wording: see REFUSAL. Measured by words, so it can be wrong both ways."""
    return REFUSAL.search(plain(text)) is not None


def repetition(text: str) -> float:
    """Share of three-word sequences that were said before in the same text."""
    words = text.lower().split()
    grams = Counter(zip(words, words[1:], words[2:], strict=False))
    total = sum(grams.values())
    return 1 - len(grams) / total if total else 0.0
