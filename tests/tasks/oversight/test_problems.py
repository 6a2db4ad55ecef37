"""Questions of known truth from worked solutions and multiple choice."""

import gzip
import json
from itertools import islice
from pathlib import Path

import pytest

from governance.errors import BadInput
from tasks.oversight.problems import deductions, known_questions, word_problems
from tasks.splits import HELD_OUT_FROM, position, split_key
from tests.conftest import ROOT
from tests.tasks.oversight.test_language_models import settings

GSM8K = ROOT / "data/raw/gsm8k/train.jsonl.gz"
DEDUCTIONS = ROOT / "data/raw/evals/logical_deduction/questions.jsonl"


def test_word_problems_have_their_own_result_against_a_slip() -> None:
    with gzip.open(GSM8K, "rt", encoding="utf-8") as lines:
        results = {r["question"]: r["answer"].rpartition("####")[2].strip() for r in map(json.loads, lines)}
    found = list(islice(word_problems(str(GSM8K), 7), 400))
    assert len(found) == 400
    for q in found:
        assert q.correct is not None and q.answers[q.correct] == results[q.text] != q.answers[1 - q.correct]
        assert q.depth >= 2 and position(split_key([{"role": "user", "content": q.text}])) >= HELD_OUT_FROM
    assert 160 < sum(q.correct or 0 for q in found) < 240
    assert next(word_problems(str(GSM8K), 8)) not in found


def test_deductions_have_a_right_choice_against_another() -> None:
    rows = {r["question"]: r for r in map(json.loads, DEDUCTIONS.read_text(encoding="utf-8").splitlines())}
    found = list(deductions(str(DEDUCTIONS), 7))
    assert len(found) == len(rows) == 150
    for q in found:
        row = rows[q.text]
        assert q.correct is not None and q.answers[q.correct] == row["choices"][row["answer"]]
        assert q.answers[1 - q.correct] in row["choices"] and len(set(q.answers)) == 2
        assert q.depth == q.text.count("\n- ")


def test_a_draw_passes_over_what_does_not_fit_and_says_so(tmp_path: Path) -> None:
    given = settings(audit=5, problems=str(GSM8K), deductions=str(DEDUCTIONS))
    every, none = known_questions(given, 7, lambda _: True)
    assert {name: len(questions) for name, questions in every.items()} == {"problems": 5, "deductions": 5}
    assert none == {"problems": 0, "deductions": 0}
    short, too_long = known_questions(given, 7, lambda q: q != every["problems"][0])
    assert short["problems"][:4] == every["problems"][1:] and too_long == {"problems": 1, "deductions": 0}
    with pytest.raises(BadInput, match=r"oversight\.problems: .* that fits into oversight\.max_tokens = 768"):
        known_questions(given, 7, lambda q: len(q.text) < 10)
    (tmp_path / "mine.jsonl").write_text('{"question": "How?"}\n', encoding="utf-8")
    with pytest.raises(BadInput, match=r"mine\.jsonl.* field answer: must be text"):
        known_questions(settings(problems=str(tmp_path / "mine.jsonl")), 7, lambda _: True)
