"""Quotes in what experts say, checked by the program before anybody reads them (after Khan et al. 2024, "Debating with More
Persuasive LLMs Leads to More Truthful Answers").

Experts put words of the question and its answers between <quote> and </quote>. What stands there word for word is marked
<v_quote>, verified, and anything else <u_quote>; an expert's own marks of that kind are taken out.
"""

import re
from collections.abc import Iterable

QUOTE = re.compile(r"<quote>(.*?)</quote>", re.DOTALL)
MARKS = re.compile(r"</?[uv]_quote>")


def marked(text: str, sources: Iterable[str]) -> str:
    """`text` with every quote marked by whether it stands in one of `sources`, white space aside."""
    while (without := MARKS.sub("", text)) != text:  # what is left may be a mark again
        text = without
    stand = [_plain(source) for source in sources]

    def mark(quote: re.Match[str]) -> str:
        words = _plain(quote[1])
        kind = "v_quote" if words and any(words in source for source in stand) else "u_quote"
        return f"<{kind}>{words}</{kind}>"

    return QUOTE.sub(mark, text)


def _plain(text: str) -> str:
    return " ".join(text.split())
