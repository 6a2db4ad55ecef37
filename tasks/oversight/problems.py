"""Questions whose truth is known, for judges and experts that are language models: word problems and logical deductions.

Of a worked solution of GSM8K (Cobbe et al. 2021) the right result stands against a wrong one. The wrong one is SIMULATED: what the
same solution comes to after one slip of the pen that is carried on (`tasks.simulated_mistakes`), in the first such copy that comes
to anything else. Solutions without such a copy are left out, and problems that the shipped base model may have seen. Of a
multiple choice (BIG-bench's logical deduction) a right choice stands against a wrong one, both drawn.
"""

from collections.abc import Callable, Iterable, Iterator

from governance.errors import BadInput
from tasks.evals.files import need, read_questions
from tasks.oversight.protocol import Question
from tasks.reading import read_rows
from tasks.simulated_mistakes import MARK, with_mistakes
from tasks.splits import HELD_OUT_FROM, number, position, split_key
from tasks.training_params import Oversight

Sources = dict[str, list[Question]]


def known_questions(settings: Oversight, seed: int, fits: Callable[[Question], bool]) -> tuple[Sources, dict[str, int]]:
    """(at most `audit` questions of either file that fit, by the file's key in params.yaml, drawn by their text and the seed;
    how many of each that were drawn did not fit). Raises BadInput for a file with none."""
    every = {
        "problems": word_problems(settings.problems, seed),
        "deductions": deductions(settings.deductions, seed),
    }
    found: Sources = {}
    too_long: dict[str, int] = {}
    for key, questions in every.items():
        found[key], too_long[key] = _first(questions, settings.audit, fits)
        if not found[key]:
            raise BadInput(
                f"oversight.{key}: {getattr(settings, key)}: has no question of known truth that fits into "
                f"oversight.max_tokens = {settings.max_tokens} with all that is said about it; raise it, or name another file."
            )
    return found, too_long


def word_problems(path: str, seed: int) -> Iterator[Question]:
    """The held-out problems of a file of worked solutions with <<a+b=c>> marks, in the order of the draw; `depth`:
    calculations."""
    rows = [(need(row, "question", place), need(row, "answer", place)) for place, row in read_rows(path)]
    for text, worked in sorted(rows, key=lambda row: _draw(seed, "question", row[0])):
        if position(split_key([{"role": "user", "content": text}])) < HELD_OUT_FROM:
            continue
        copies = with_mistakes(text, worked, seed=f"{seed}:{text}")
        wrong = next((copy.answer for copy in copies if not copy.right), None)
        if wrong is not None:
            yield _question(text, copies[0].answer, wrong, len(MARK.findall(worked)), seed)


def deductions(path: str, seed: int) -> Iterator[Question]:
    """Those of a file of multiple choice that have a wrong choice, in the order of the draw; `depth`: clues, where they stand
    line by line."""
    for q in sorted(read_questions(path), key=lambda q: _draw(seed, "question", q.question)):
        wrong = [choice for k, choice in enumerate(q.choices) if k not in q.right]
        if q.right and wrong:
            right = q.choices[q.right[_draw(seed, "right", q.question) % len(q.right)]]
            other = wrong[_draw(seed, "wrong", q.question) % len(wrong)]
            clues = sum(line.startswith("- ") for line in q.question.split("\n"))
            yield _question(q.question, right, other, max(clues, 1), seed)


def _question(text: str, right: str, wrong: str, depth: int, seed: int) -> Question:
    correct = _draw(seed, "first", text) % 2
    return Question(text, (right, wrong) if correct == 0 else (wrong, right), correct, depth)


def _draw(seed: int, what: str, text: str) -> int:
    return number(f"{seed}:oversight:{what}:{text}")


def _first(questions: Iterable[Question], n: int, fits: Callable[[Question], bool]) -> tuple[list[Question], int]:
    """(the first `n` that fit, how many before these do not)."""
    found: list[Question] = []
    too_long = 0
    for question in questions:
        if fits(question):
            found.append(question)
        else:
            too_long += 1
        if len(found) == n:
            break
    return found, too_long
