"""The checkable constraints of IFEval (Zhou et al. 2023), by their ids; each says whether a response follows it.

All of its 25 but `language:response_language`, which needs a language detector. Words and sentences are counted by
plain rules, not by NLTK, so that a count can differ by one from the original at odd punctuation.
"""

import json
import re
from collections.abc import Callable
from typing import Any

Check = Callable[[str, dict[str, Any]], bool]
WORD = re.compile(r"\w+(?:['’]\w+)*")
SENTENCE = re.compile(r"[^.!?]+(?:[.!?]+|$)")
OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _relation(count: int, wanted: int, relation: str | None) -> bool:
    return count < wanted if relation == "less than" else count >= wanted


def words(text: str) -> int:
    """Number of words."""
    return len(WORD.findall(text))


def sentences(text: str) -> int:
    """Number of sentences that hold a word."""
    return sum(1 for s in SENTENCE.findall(text) if WORD.search(s))


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def _paragraphs(text: str) -> list[str]:
    return [p for p in re.split(r"\s?\*\*\*\s?", text) if p.strip()]


def _first_word(text: str, k: dict[str, Any]) -> bool:
    paragraphs = [p.strip() for p in re.split(r"\n\n", text) if p.strip()]
    nth = int(k["nth_paragraph"])
    if len(paragraphs) != int(k["num_paragraphs"]) or nth > len(paragraphs):
        return False
    first = WORD.search(paragraphs[nth - 1])
    return first is not None and first.group().lower() == str(k["first_word"]).lower()


def _json(text: str, _: dict[str, Any]) -> bool:
    bare = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip(), flags=re.IGNORECASE)
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return True


def _two_responses(text: str, _: dict[str, Any]) -> bool:
    parts = [p.strip() for p in text.split("******") if p.strip()]
    return len(parts) == 2 and parts[0] != parts[1]


def _capital_words(text: str, k: dict[str, Any]) -> bool:
    count = sum(1 for w in WORD.findall(text) if w.isupper())
    return _relation(count, int(k["capital_frequency"]), k.get("capital_relation"))


def _postscript(text: str, k: dict[str, Any]) -> bool:
    mark = re.escape(str(k.get("postscript_marker") or "P.S."))
    return re.search(rf"^\s*{mark}", text, re.IGNORECASE | re.MULTILINE) is not None


def _quoted(text: str, _: dict[str, Any]) -> bool:
    bare = text.strip()
    return len(bare) > 1 and bare[0] == bare[-1] == '"'


CHECKS: dict[str, Check] = {
    "keywords:existence": lambda t, k: all(_has_word(t, w) for w in k["keywords"]),
    "keywords:forbidden_words": lambda t, k: not any(_has_word(t, w) for w in k["forbidden_words"]),
    "keywords:frequency": lambda t, k: _relation(
        len(re.findall(rf"\b{re.escape(k['keyword'])}\b", t, re.IGNORECASE)), int(k["frequency"]), k.get("relation")
    ),
    "keywords:letter_frequency": lambda t, k: _relation(
        t.lower().count(str(k["letter"]).lower()), int(k["let_frequency"]), k.get("let_relation")
    ),
    "length_constraints:number_words": lambda t, k: _relation(words(t), int(k["num_words"]), k.get("relation")),
    "length_constraints:number_sentences": lambda t, k: _relation(
        sentences(t), int(k["num_sentences"]), k.get("relation")
    ),
    "length_constraints:number_paragraphs": lambda t, k: len(_paragraphs(t)) == int(k["num_paragraphs"]),
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": lambda t, k: len(re.findall(r"\[.*?\]", t)) >= int(k["num_placeholders"]),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": lambda t, k: (
        len(re.findall(r"^\s*(?:\*(?!\*)|-)\s*\S", t, re.MULTILINE)) == int(k["num_bullets"])
    ),
    "detectable_format:constrained_response": lambda t, _: any(o in t for o in OPTIONS),
    "detectable_format:number_highlighted_sections": lambda t, k: (
        len(re.findall(r"\*\*[^*\n]+\*\*|\*[^*\n]+\*", t)) >= int(k["num_highlights"])
    ),
    "detectable_format:multiple_sections": lambda t, k: (
        len(re.findall(rf"\b{re.escape(str(k['section_spliter']).strip())}\s?\d+", t)) >= int(k["num_sections"])
    ),
    "detectable_format:json_format": _json,
    "detectable_format:title": lambda t, _: re.search(r"<<[^\n<>]*\w[^\n<>]*>>", t) is not None,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": lambda t, k: t.strip().lower().startswith(str(k["prompt_to_repeat"]).strip().lower()),
    "startend:end_checker": lambda t, k: t.strip().strip('"').lower().endswith(str(k["end_phrase"]).strip().lower()),
    "startend:quotation": _quoted,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": lambda t, _: t.isupper(),
    "change_case:english_lowercase": lambda t, _: t.islower(),
    "punctuation:no_comma": lambda t, _: "," not in t,
}


def follows(constraint: str, arguments: dict[str, Any], text: str) -> bool:
    """Whether a response follows a constraint of CHECKS; an empty response follows none.

    Raises KeyError, TypeError or ValueError if arguments are missing or wrong.
    """
    return bool(text.strip()) and CHECKS[constraint](text, arguments)
