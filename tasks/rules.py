"""Rules of rows, written once: pandera judges by them, and Great Expectations shows the same ones on its pages.

A rule is a boolean polars expression over derived columns (`derive_…`), true where a row is good. Rules judge a chunk of
rows at a time; what depends on other rows of the table, or on another table, comes to them as a boolean column.
"""

from dataclasses import dataclass

import pandera.polars as pa
import polars as pl

from tasks.params import Validate

BYTES_A_TOKEN = 4  # an estimate that needs no tokenizer
DAMAGE = "\ufffd|Ã[\u0080-\u00bf©¨¢ª®´»]|â€[œ\u009d™“”˜]|[\x00-\x08\x0b\x0c\x0e-\x1f]"
TRUNCATED = r"(?i)(<truncated>|\[truncated\]|\[cut off\])\s*$"


@dataclass(frozen=True)
class Rule:
    """`name` and `sentence` for people, the `field` it is about, and `good` for the machine."""

    name: str
    field: str
    good: pl.Expr
    sentence: str


ID_RULES = (  # identical rows: one is kept; other rows under one id: nobody knows which is meant, so none is
    Rule(
        "id_unique",
        "id",
        pl.col("id").is_not_null() & ~pl.col("id_of_others"),
        "the id is missing, or stands on rows that differ",
    ),
    Rule("row_new", "id", ~pl.col("seen_before"), "repeats an earlier row"),
)


def derive_preferences(table: pl.DataFrame) -> pl.DataFrame:
    """Columns that the rules of preferences read, beside those that tell of other rows: `id_of_others` (another row
    with other content has the id), `seen_before` (an earlier row is identical), `one_side`."""
    content = pl.element().struct.field("content")
    roles = pl.element().struct.field("role")
    sides = ("prompt", "chosen", "rejected")
    return table.select(
        "id",
        *(pl.col(c).list.eval(roles).list.join(" ").alias(f"{c}_roles") for c in sides),
        *(pl.col(c).list.eval(content.str.strip_chars().str.len_bytes()).list.min().alias(f"{c}_least") for c in sides),
        *(pl.col(c).list.eval(content.str.len_bytes()).list.sum().alias(f"{c}_bytes") for c in sides),
        *(pl.col(c).list.eval(content).list.join("\n").alias(f"{c}_text") for c in sides),
    )


def preference_rules(settings: Validate) -> list[Rule]:
    """Rules of one preference row."""
    answer = r"^assistant$"
    dialogue = r"^(system )?user( assistant user)*$"
    most = settings.max_response_tokens * BYTES_A_TOKEN

    def text_ok(pattern: str) -> pl.Expr:
        return ~pl.any_horizontal(pl.col(f"{c}_text").str.contains(pattern) for c in ("prompt", "chosen", "rejected"))

    return [
        *ID_RULES,
        Rule("roles_in_order", "prompt", pl.col("prompt_roles").str.contains(dialogue), "roles are out of order"),
        Rule("chosen_is_answer", "chosen", pl.col("chosen_roles").str.contains(answer), "is not one assistant message"),
        Rule(
            "rejected_is_answer",
            "rejected",
            pl.col("rejected_roles").str.contains(answer),
            "is not one assistant message",
        ),
        Rule("prompt_not_empty", "prompt", pl.col("prompt_least") > 0, "has an empty turn"),
        Rule("chosen_not_empty", "chosen", pl.col("chosen_least") > 0, "is empty"),
        Rule("rejected_not_empty", "rejected", pl.col("rejected_least") > 0, "is empty"),
        Rule("sides_differ", "chosen", pl.col("chosen_text") != pl.col("rejected_text"), "equals rejected"),
        Rule("not_truncated", "chosen", text_ok(TRUNCATED), "a turn was cut off"),
        Rule("not_damaged", "prompt", text_ok(DAMAGE), "the encoding is damaged"),
        Rule(
            "prompt_fits",
            "prompt",
            pl.col("prompt_bytes") <= settings.max_prompt_tokens * BYTES_A_TOKEN,
            "is longer than validate.max_prompt_tokens",
        ),
        Rule(
            "answers_fit",
            "chosen",
            (pl.col("chosen_bytes") <= most) & (pl.col("rejected_bytes") <= most),
            "an answer is longer than validate.max_response_tokens",
        ),
        Rule("prompt_on_one_side", "prompt", pl.col("one_side"), "its prompt stands on two sides of the split"),
    ]


def derive_demonstrations(table: pl.DataFrame) -> pl.DataFrame:
    """Columns that the rules of demonstrations read, beside `id_of_others` and `seen_before`."""
    content = pl.element().struct.field("content")
    return table.select(
        "id",
        pl.col("messages").list.eval(pl.element().struct.field("role")).list.join(" ").alias("roles"),
        pl.col("messages").list.eval(content.str.strip_chars().str.len_bytes()).list.min().alias("least"),
        pl.col("messages").list.eval(content).list.join("\n").alias("text"),
    )


def demonstration_rules() -> list[Rule]:
    """Rules of one demonstration."""
    dialogue = r"^(system )?user assistant( user assistant)*$"
    return [
        *ID_RULES,
        Rule("roles_in_order", "messages", pl.col("roles").str.contains(dialogue), "roles are out of order"),
        Rule("not_empty", "messages", pl.col("least") > 0, "has an empty turn"),
        Rule("not_damaged", "messages", ~pl.col("text").str.contains(DAMAGE), "the encoding is damaged"),
    ]


def vote_rules() -> list[Rule]:
    """Rules of one vote; `known_item` comes from the pairs, `seen_before` from the votes above it."""
    return [
        Rule("item_known", "item_id", pl.col("known_item"), "votes on an item that is not among the pairs"),
        Rule(
            "choice_binary",
            "choice",
            pl.col("choice").is_between(0, 1) | pl.col("undecided").is_not_null(),
            "is not 0 or 1, nor a tie",
        ),
        Rule("first_vote", "annotator_id", ~pl.col("seen_before"), "the annotator voted on the item before"),
    ]


def golden_rules() -> list[Rule]:
    """Rules of one golden item; `known_item` comes from pairs or votes, `seen_before` from the items above it."""
    return [
        Rule("item_known", "item_id", pl.col("known_item"), "is not among the pairs or votes"),
        Rule("choice_binary", "gold_choice", pl.col("gold_choice").is_between(0, 1), "is not 0 or 1"),
        Rule("item_unique", "item_id", ~pl.col("seen_before"), "is given twice"),
    ]


def judged(table: pl.DataFrame, rules: list[Rule]) -> pl.DataFrame:
    """One boolean column a rule: pandera and Great Expectations both look at these."""
    return table.select(r.good.fill_null(False).alias(r.name) for r in rules)


def schema(rules: list[Rule]) -> pa.DataFrameSchema:
    """pandera schema over `judged`; validate it lazily on a collected frame."""
    return pa.DataFrameSchema({r.name: pa.Column(pl.Boolean, pa.Check.eq(True, error=r.sentence)) for r in rules})
