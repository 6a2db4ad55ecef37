"""SIMULATED mistakes in worked solutions of word problems: one result is changed, and carried on.

GSM8K marks every calculation of its solutions, `<<48/2=24>>24` (Cobbe et al. 2021). Of a solution that has at least two, and in
which all add up, copies are made in which one result is another number; wherever later lines use the old one, they go on with
the new one and calculate rightly from it. So the first wrong step is known, and the answer is compared, not assumed to be wrong.
These are slips of the pen, one a solution: people and models make other mistakes, too, and what a model learns of these need not
carry over to those.
"""

import ast
import operator
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

MISTAKES = 3  # copies with a mistake of each solution, beside the solution itself
MARK = re.compile(r"<<([^<>=]+)=([^<>=]+)>>")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+")
OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True)
class WorkedOut:
    """A solution by steps, the last of which gives the `answer`. `first_error`: index of the step with the mistake."""

    steps: list[str]
    answer: str
    right: bool
    first_error: int | None


def with_mistakes(question: str, answer: str, *, seed: str) -> list[WorkedOut]:
    """The solution, and at most `MISTAKES` different copies of it with a mistake each; none where it has fewer than two
    calculations or one that does not add up. `answer` ends with `#### result`."""
    body, _, result = answer.rpartition("####")
    lines, result = [line for line in body.strip().split("\n") if line.strip()], result.strip()
    marks = [(k, m.start()) for k, line in enumerate(lines) for m in MARK.finditer(line)]
    if len(marks) < 2 or not all(_adds_up(line) for line in lines):
        return []
    draw = random.Random(seed)
    found = [_worked_out(lines, result, result, None)]
    for _ in range(4 * MISTAKES):
        line, at = draw.choice(marks)
        made = _with_mistake(lines, result, line, at, draw)
        if made and all(made.steps != other.steps for other in found):
            found.append(made)
        if len(found) > MISTAKES:
            break
    return found


def value_of(expression: str) -> Fraction | None:
    """What a sum of numbers comes to; None where it is none."""
    try:
        tree = ast.parse(re.sub(r"(?<![\d.])0+(?=\d)", "", expression.replace(",", "").strip()), mode="eval")
        return _value(tree.body)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return None


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_value(node.left), _value(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return Fraction(str(node.value))
    raise ValueError


def _adds_up(line: str) -> bool:
    for expression, result in MARK.findall(line):
        left, right = value_of(expression), value_of(result)
        if left is None or right is None or abs(left - right) > Fraction(1, 100):
            return False
    return True


def _with_mistake(lines: list[str], result: str, line: int, at: int, draw: random.Random) -> WorkedOut | None:
    """A copy in which the result of the mark at `at` of a line is another number."""
    mark = MARK.match(lines[line], at)
    assert mark
    old = value_of(mark[2])
    assert old is not None
    others = [v for v in (old + 1, old - 1, old + 2, old - 2, old + 10, old - 10, old * 10) if v > 0 and v != old]
    if not others:
        return None
    new = draw.choice(others)
    changed = {old: new}
    rest = _carried_on(lines[line][mark.end() :], changed)
    after = [_carried_on(later, changed) for later in lines[line + 1 :]]
    if rest is None or None in after:
        return None
    made = [
        *lines[:line],
        lines[line][: mark.start(2)] + written(new) + ">>" + rest,
        *(x for x in after if x is not None),
    ]
    value = value_of(result)
    answer = written(changed[value]) if value in changed else result
    return _worked_out(made, answer, result, line)


def _carried_on(text: str, changed: dict[Fraction, Fraction]) -> str | None:
    """A text with every changed number as it is now, and what is calculated from it; that joins `changed`. None where a
    calculation of its own comes to the old number, too: nobody could tell which of the two is meant later."""
    for expression, result in MARK.findall(text):
        now, before = value_of(_replaced(expression, changed)), value_of(result)
        if _replaced(expression, changed) == expression and before in changed:
            return None
        if now is not None and before is not None and _replaced(expression, changed) != expression:
            changed[before] = now
    return _replaced(text, changed)


def _replaced(text: str, changed: dict[Fraction, Fraction]) -> str:
    def number(found: re.Match[str]) -> str:
        value = value_of(found[0])
        return written(changed[value]) if value in changed else found[0]

    return NUMBER.sub(number, text)


def written(value: Fraction) -> str:
    """A number as a person writes it, with two decimals at most."""
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.2f}".rstrip("0").rstrip(".")


def _worked_out(lines: list[str], answer: str, target: str, first_error: int | None) -> WorkedOut:
    steps = [*(MARK.sub("", line).strip() for line in lines), f"The answer is {answer}."]
    return WorkedOut(steps, answer, answer == target, first_error)
