"""Every checkable constraint: a response that follows it and one that does not."""

import pytest

from tasks.evals.constraints import CHECKS, follows, sentences

CASES = {
    "keywords:existence": ({"keywords": ["quiet", "dawn"]}, "A quiet dawn.", "A quietly made dawn."),
    "keywords:forbidden_words": ({"forbidden_words": ["the"]}, "Another theme.", "In the end."),
    "keywords:frequency": ({"keyword": "cat", "frequency": 2, "relation": "at least"}, "Cat and cat.", "cats, cat"),
    "keywords:letter_frequency": ({"letter": "z", "let_frequency": 2, "let_relation": "less than"}, "Zoo", "zigzag"),
    "length_constraints:number_words": ({"num_words": 3, "relation": "less than"}, "Don't go", "one two three"),
    "length_constraints:number_sentences": ({"num_sentences": 2, "relation": "at least"}, "Yes. No!", "Yes ..."),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 2}, "a ***\nb", "a\n\nb"),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"},
        "First.\n\nthen more",
        "Then.\n\nmore",
    ),
    "detectable_content:number_placeholders": ({"num_placeholders": 2}, "[name] at [place]", "[name]"),
    "detectable_content:postscript": ({"postscript_marker": "P.S."}, "Bye\nP.S. Write", "see P.S. there"),
    "detectable_format:number_bullet_lists": ({"num_bullets": 2}, "* a\n- b", "* a\n* b\n* c"),
    "detectable_format:constrained_response": ({}, "My answer is yes.", "yes"),
    "detectable_format:number_highlighted_sections": ({"num_highlights": 2}, "*a* and **b**", "*a* b"),
    "detectable_format:multiple_sections": (
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\na\nSection 2\nb",
        "Section 1",
    ),
    "detectable_format:json_format": ({}, '```json\n{"a": 1}\n```', "{a: 1}"),
    "detectable_format:title": ({}, "<<Dawn>>\nIt was", "<Dawn>"),
    "combination:two_responses": ({}, "one ****** two", "one"),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Say hello"}, "say hello. Hello!", "Hello!"),
    "startend:end_checker": ({"end_phrase": "The end."}, "So it was. The end.", "The end. So"),
    "startend:quotation": ({}, '"Hello."', '"Hello." he said'),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 2, "capital_relation": "at least"},
        "NO WAY",
        "NO way",
    ),
    "change_case:english_capital": ({}, "ALL OF IT", "ALL of it"),
    "change_case:english_lowercase": ({}, "all of it", "All of it"),
    "punctuation:no_comma": ({}, "a and b", "a, b"),
}


@pytest.mark.parametrize("constraint", CHECKS)
def test_followed_and_not(constraint: str) -> None:
    arguments, good, bad = CASES[constraint]
    assert follows(constraint, arguments, good)
    assert not follows(constraint, arguments, bad)
    assert not follows(constraint, arguments, " ")


def test_sentences_are_counted_by_their_words() -> None:
    assert sentences("One. Two!! Three? …") == 3
