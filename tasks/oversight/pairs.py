"""Preferences by an oversight protocol: two answers of SFT to a prompt, and which of them the judge prefers after what the protocol
lets be said. The label is soft (`tasks.soft_pairs`).

Whatever the judge read is kept, for people to read: a line a question in `data/reports/reward/oversight_transcripts.jsonl`, which
pairs name by its SHA-256.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from governance.digest import canonical_json, sha256_bytes, sha256_path, write_atomic
from governance.errors import BadInput
from tasks import paths
from tasks.choice_models import asked_model
from tasks.oversight.direct import Direct
from tasks.oversight.judge_audit import DIRECT, Row, accuracy, reading, sentence
from tasks.oversight.language_models import ModelExpert, ModelHelper, ModelJudge, room
from tasks.oversight.lessons import Lessons
from tasks.oversight.problems import Sources, known_questions
from tasks.oversight.protocol import Case, Judgements, Participants, Question, Statement, configured, helper_of
from tasks.oversight.protocol import Oversight as Protocol
from tasks.oversight.writers import Writer, writer
from tasks.rlhf.encoding import Messages
from tasks.rlhf.models import load_tokenizer
from tasks.rlhf.processes import from_first
from tasks.sft_answers import NoneFits, answered_twice, drawn_prompts
from tasks.soft_pairs import SCHEMA as SOFT
from tasks.soft_pairs import preferred
from tasks.stage import Stage
from tasks.tables import write_table
from tasks.training_params import Oversight

PAIRS = paths.OVERSIGHT_PAIRS
TRANSCRIPTS = paths.report("reward") / "oversight_transcripts.jsonl"
SOURCE, ASSISTANT = "oversight", "assistant"
SCHEMA: dict[str, Any] = SOFT | {"protocol": pl.String, "transcript_sha256": pl.String}


@dataclass(frozen=True)
class Room:
    """Whoever takes part, and what there is room for."""

    people: Participants
    judge: ModelJudge
    writer: Writer
    protocol: Protocol
    tokenizer: Any
    settings: Oversight

    def left(self, question: Question) -> int:
        """Tokens that `max_tokens` leaves beside a question and the longest that can be said about it."""
        sides = configured(self.settings.protocol).heard(self.settings)
        texts = sum(2 if side is None else 1 for side in sides)  # a helper states a question and its answer
        said = Case(question, tuple(Statement(side, "") for side in sides))
        return self.settings.max_tokens - room(self.tokenizer, said) - texts * self.settings.max_new_tokens


def by_protocol(stage: Stage) -> tuple[pl.DataFrame, list[Row], dict[str, str]]:
    """The pairs that a judge prefers by the protocol, none where `oversight.pairs` is 0; rows of `metrics.json` on that judge;
    and what the lineage says of the pairs. The first process writes them to `PAIRS`; all train an assistant, if there is one."""
    settings = stage.params.oversight
    if settings.pairs == 0:
        return from_first(lambda: _nothing(stage))
    if not (levels := configured(settings.protocol).levels(settings)):
        return from_first(lambda: _made(stage, *_gathered(stage)))
    together, lessons = _gathered(stage)  # in every process, since all train an assistant
    together = replace(together, people=replace(together.people, assistant=lessons.taught(levels)))
    return from_first(lambda: _made(stage, together, lessons))


def _gathered(stage: Stage) -> tuple[Room, Lessons]:
    """Whoever takes part, and what an assistant of theirs would learn from."""
    settings = stage.params.oversight
    together = gathered(settings, stage.seed, trust_remote_code=stage.params.base.trust_remote_code)
    helper = helper_of(together.people, settings.protocol)
    return together, Lessons(stage, together.tokenizer, together.judge, helper, partial(_texts, stage, together))


def _nothing(stage: Stage) -> tuple[pl.DataFrame, list[Row], dict[str, str]]:
    nothing = pl.DataFrame(schema=SCHEMA)
    write_table(nothing, PAIRS)  # DVC keeps no output that is not there
    stage.output_table(PAIRS)
    return nothing, [], {}


def _made(stage: Stage, together: Room, lessons: Lessons) -> tuple[pl.DataFrame, list[Row], dict[str, str]]:
    settings = stage.params.oversight
    sources, too_long = known_questions(settings, stage.seed, lambda question: together.left(question) >= 0)
    figures, lines = _audited(stage, together, sources)
    table, aside, more = _preferred(stage, together)
    figures += lessons.figures + reading(together.judge.found, stage.seed)
    write_atomic(TRANSCRIPTS, b"".join(line + b"\n" for line in (*_taught(settings, lessons), *lines, *more)))
    stage.notes["oversight"] = {
        "protocol": settings.protocol,
        "turns": settings.turns,
        "order": settings.order,
        "quotes": settings.quotes,
        "judge": settings.judge.model if settings.judge else paths.SFT.as_posix(),
        "expert": settings.expert.model if settings.expert else paths.SFT.as_posix(),
        "said": sentence(settings.protocol, figures),
        "pairs": table.height,
        "set_aside": aside,
        "audit": {name: len(questions) for name, questions in sources.items()},
        "audit_too_long": too_long,
        "written": together.writer.counts,
        "transcripts_sha256": sha256_path(TRANSCRIPTS),
    }
    if lessons.notes:
        stage.notes["oversight"]["assistant"] = {"candidates": settings.candidates, "levels": lessons.notes}
    for file in (settings.problems, settings.deductions):
        stage.input_table(Path(file), "oversight")
    write_table(table, PAIRS)
    stage.output_table(PAIRS)
    stage.input_table(PAIRS, "training")
    return table, figures, {"oversight_pairs_sha256": sha256_path(PAIRS)}


def gathered(settings: Oversight, seed: int, *, trust_remote_code: bool) -> Room:
    """Judge, expert and helper, and the protocol, as the section `oversight` asks for them."""
    tokenizer = load_tokenizer(paths.SFT, trust_remote_code=trust_remote_code)
    asked = asked_model(settings.judge, "oversight.judge", settings.max_tokens, trust_remote_code=trust_remote_code)
    judge = ModelJudge(asked, tokenizer, settings.max_tokens)
    hand = writer(settings.expert, "oversight.expert", tokenizer, settings, seed)
    people = Participants(judge, ModelExpert(hand), ModelHelper(hand))
    return Room(people, judge, hand, configured(settings.protocol).made(settings), tokenizer, settings)


def _audited(stage: Stage, together: Room, sources: Sources) -> tuple[list[Row], list[bytes]]:
    """(figures, lines of transcripts): the judge by the protocol, and alone, on questions of known truth."""
    questions = [question for some in sources.values() for question in some]
    names = [f"{name}-{k}" for name, some in sources.items() for k in range(len(some))]
    ways = {stage.params.oversight.protocol: together.protocol, DIRECT: Direct()}
    right: dict[str, np.ndarray] = {}
    lines: list[bytes] = []
    for way, protocol in ways.items():
        found = numbers(protocol(questions, together.people, np.random.default_rng([stage.seed, 0])))
        right[way] = found.right(questions)
        lines += _lines([f"audit-{way}-{name}" for name in names], way, questions, found)
    return accuracy(stage.params.oversight.protocol, sources, right, stage.seed), lines


def _preferred(stage: Stage, together: Room) -> tuple[pl.DataFrame, dict[str, int], list[bytes]]:
    """(table of `SCHEMA`, how many pairs were set aside and why, lines of transcripts)."""
    settings = stage.params.oversight
    drawn = _prompts(stage, together, SOURCE)
    rows, answers = answered_twice(stage, settings, together.tokenizer, drawn)
    rows = rows.with_columns(id=f"{SOURCE}-" + pl.col("id"))
    questions = [_question(p, *pair) for p, pair in zip(rows["prompt"].to_list(), answers, strict=True)]
    before = together.judge.too_long
    found = together.protocol(questions, together.people, np.random.default_rng([stage.seed, 1]))
    lines = _lines(rows["id"].to_list(), settings.protocol, questions, numbers(found))
    rows = rows.with_columns(
        protocol=pl.lit(settings.protocol),
        transcript_sha256=pl.Series([sha256_bytes(line) for line in lines], dtype=pl.String),
    )
    table = preferred(rows, answers, found.log_odds, SOURCE)
    too_long, unread = together.judge.too_long - before, int(np.isnan(found.log_odds).sum())
    aside = {"same_or_empty": drawn.height - rows.height, "too_long": too_long, "no_letter": unread - too_long}
    aside["undecided"] = rows.height - unread - table.height
    return table, aside, lines


def _texts(stage: Stage, together: Room) -> list[str]:
    """Prompts that assistants learn from parts of, drawn apart from those of the pairs."""
    return [_question(prompt, "", "").text for prompt in _prompts(stage, together, ASSISTANT)["prompt"].to_list()]


def _taught(settings: Oversight, lessons: Lessons) -> list[bytes]:
    """Lines of transcripts of what assistants learned from."""
    lines = []
    for level, (questions, found) in enumerate(lessons.judged, 1):
        names = [f"{ASSISTANT}-{level}-{k}" for k in range(len(questions))]
        lines += _lines(names, settings.protocol, questions, numbers(found))
    return lines


def _prompts(stage: Stage, together: Room, salt: str) -> pl.DataFrame:
    settings = stage.params.oversight
    answers = 2 * settings.max_new_tokens
    try:
        return drawn_prompts(stage, settings, salt, lambda prompt: together.left(_question(prompt, "", "")) >= answers)
    except NoneFits:
        raise BadInput(
            f"oversight.max_tokens: {settings.max_tokens} leave no room for any prompt beside two answers and what is said "
            f"about them by {settings.protocol}; raise it, or lower oversight.max_new_tokens or oversight.turns."
        ) from None


def _question(prompt: Messages, first: str, second: str) -> Question:
    """Which of two answers to a prompt is better; nobody knows."""
    talk = "\n".join(f"{m['role']}: {m['content']}" for m in prompt)
    return Question(talk, (first, second), None, 0)


def numbers(found: Judgements) -> Judgements:
    """With 0, undecided, where the judge gave no number."""
    return Judgements(np.nan_to_num(found.log_odds), found.transcripts)


def _lines(names: Sequence[str], protocol: str, questions: Sequence[Question], found: Judgements) -> list[bytes]:
    """RFC 8785 JSON of what was judged, how, and what the judge had read."""
    return [
        canonical_json(
            {
                "id": name,
                "protocol": protocol,
                "question": q.text,
                "answers": list(q.answers),
                "right": q.correct,
                "transcript": [{"side": s.side, "text": s.text} for s in said],
                "log_odds": round(float(odds), 6),
            }
        )
        for name, q, odds, said in zip(names, questions, found.log_odds, found.transcripts, strict=True)
    ]
