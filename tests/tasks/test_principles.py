"""Principles: their file, who draws which, what a model prefers by them, and what contradicts what."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml

from governance.errors import BadInput
from tasks.choice_models import EndpointModel
from tasks.param_types import Endpoint
from tasks.principle_audit import _agreement, _without
from tasks.principle_feedback import Case, preferences, question
from tasks.principles import Principle, drawn, read_principles
from tasks.revisions import SCHEMA, trained_on
from tasks.rlhf.choice_logprobs import choice_logprobs
from tasks.rlhf.encoding import Messages, encode_prompts
from tasks.rlhf.models import load_causal_lm, load_tokenizer
from tasks.splits import drawn_rows
from tasks.stats.opposition import oppositions
from tasks.training_params import Principles
from tests.tasks.choice_server import choice_server

SHIPPED = Path(__file__).resolve().parents[2]
ENTRY = {"id": "kind", "text": "is kind.", "source": "own", "reason": "why not", "approved_by": "A. Person"}
PROMPT = [{"role": "user", "content": "Hi"}]


def settings(file: Path, **changes: Any) -> Principles:
    given = yaml.safe_load((SHIPPED / "params.yaml").read_text(encoding="utf-8"))["principles"]
    return Principles.model_validate(given | {"file": str(file)} | changes)


def file_of(folder: Path, *entries: Any, **top: Any) -> Path:
    path = folder / "principles.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "principles": list(entries)} | top), encoding="utf-8")
    return path


def test_the_shipped_list_wants_somebody_who_answers_for_it() -> None:
    shipped = SHIPPED / "data/raw/principles/example.yaml"
    with pytest.raises(BadInput, match="entry no-harm: field approved_by: names nobody"):
        read_principles(settings(shipped))
    listed = read_principles(settings(shipped, approved_by="A. Person"))
    assert {p.approved_by for p in listed.principles} == {"A. Person"}
    assert all(p.text.endswith(".") and p.text[0].islower() for p in listed.principles)  # ends "A good response …"


@pytest.mark.parametrize(
    ("entries", "top", "sentence"),
    [
        ([ENTRY | {"reason": " "}], {}, r"principles: entry 1 \(kind\): field reason: is empty\.$"),
        ([ENTRY, {k: v for k, v in ENTRY.items() if k != "text"}], {}, r"entry 2 \(kind\): field text: is missing"),
        ([ENTRY | {"approved": "me"}], {}, "field approved: is not a known field"),
        ([ENTRY | {"id": "Be kind"}], {}, r"entry 1 \(Be kind\): field id: must be small letters, digits and -"),
        ([ENTRY | {"text": 5}], {}, "field text: is wrong: Input should be a valid string"),
        (["be kind"], {}, "entry 1: must be a mapping with id"),
        ([ENTRY, ENTRY], {}, "the id kind stands there twice"),
        ([], {}, "has no entry"),
        ([ENTRY], {"version": None}, "field version: is wrong"),
        ([ENTRY], {"principles": "kind"}, "field principles: is wrong"),
    ],
)
def test_a_fault_is_one_sentence_with_file_entry_and_field(
    entries: list[Any], top: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=sentence) as error:
        read_principles(settings(file_of(tmp_path, *entries, **top)))
    assert str(error.value).startswith(f"{tmp_path}/principles.yaml: ")


@pytest.mark.parametrize(
    ("text", "sentence"), [("- a\n- b\n", "must be a mapping"), ("a: 1\na: 2\n", "line 2"), ("", "must be a mapping")]
)
def test_what_is_no_list_of_principles(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "principles.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=sentence):
        read_principles(settings(tmp_path / "principles.yaml"))
    with pytest.raises(BadInput, match="there is no such file"):
        read_principles(settings(tmp_path / "nowhere.yaml"))


def test_a_draw_depends_on_the_row_and_the_seed_alone() -> None:
    listed = [Principle.model_validate(ENTRY | {"id": name}) for name in ("a", "b", "c")]
    rows = [f"row-{k}" for k in range(600)]
    first = [drawn(listed, row, 7).id for row in rows]
    assert first == [drawn(listed, row, 7).id for row in reversed(rows)][::-1]
    assert [drawn(listed, row, 8).id for row in rows] != first
    assert all(150 < first.count(name) < 250 for name in "abc")
    table = pl.DataFrame({"id": rows})
    some = drawn_rows(table, 50, "pair", 7)["id"].to_list()
    assert len(some) == 50 and some == [row for row in rows if row in some]
    assert set(drawn_rows(table.head(300), 50, "pair", 7)["id"]) >= {row for row in some if row in rows[:300]}


def test_whole_revisions_are_demonstrations() -> None:
    rows = [("a", "Better.", True), ("b", "Cut sh", False), ("c", "", True)]
    table = pl.DataFrame(
        [
            {"id": i, "prompt": PROMPT, "answer": "x", "principle": "p", "critique": "y", "revision": r, "ended": e}
            for i, r, e in rows
        ],
        schema=SCHEMA,
    )
    messages = [*PROMPT, {"role": "assistant", "content": "Better."}]
    demonstration = pl.DataFrame({"id": ["a"], "messages": [messages]})
    assert trained_on(table).rows() == demonstration.rows()
    pl.concat([demonstration, trained_on(table)])  # of one schema


def test_log_probabilities_are_the_models(tiny_model_folder: Path) -> None:
    """Of questions of unequal length, as the model gives them one by one."""
    tokenizer, model = load_tokenizer(tiny_model_folder), load_causal_lm(tiny_model_folder)
    questions = [question(Case(PROMPT, "yes" * k, "no", "is kind.")) for k in (1, 9, 3)]
    found = choice_logprobs(model, tokenizer, questions, ("A", "B"), 1000)
    letters = [tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "AB"]
    for row, ids in zip(found, encode_prompts(tokenizer, questions, 1000), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([ids], device=model.device)).logits[0, -1].float()
        torch.testing.assert_close(row, logits.log_softmax(-1)[letters].cpu(), rtol=1e-4, atol=1e-5)


class LikesA:
    """Somebody who sees a difference of a fifth of a log-odds a letter, and likes what is called A by three."""

    def logprobs(self, questions: Sequence[Messages]) -> np.ndarray:
        rows = []
        for (asked,) in questions:
            first, second = (
                asked["content"].split("[Response A]\n")[1].split("\n\nA good")[0].split("\n\n[Response B]\n")
            )
            odds = 0.2 * (len(first) - len(second)) + 3
            rows.append([-np.log1p(np.exp(-odds)) - 1, -np.log1p(np.exp(odds)) - 1])
        return np.array(rows)


def test_a_liking_for_a_letter_cancels() -> None:
    found = preferences(
        LikesA(), [Case(PROMPT, "abcdef", "a", "is long."), Case(PROMPT, "a" * 10, "a" * 40, "is long.")]
    )
    np.testing.assert_allclose(found.log_odds, [1.0, -6.0])
    np.testing.assert_allclose(found.lean, [3.0, 3.0])
    np.testing.assert_allclose(found.mass, np.exp(-1))
    assert found.orders_agree.tolist() == [False, True]


def test_an_endpoint_prefers_by_its_log_probabilities() -> None:
    case = Case(PROMPT, "a" * 10, "a" * 30, "is short.")
    with choice_server() as server:

        def found(model: str) -> float:
            return float(
                preferences(
                    EndpointModel(Endpoint(url=server.url, model=model), "principles.endpoint"), [case]
                ).log_odds[0]
            )

        assert found("m") == pytest.approx(2.0)
        assert np.isnan(found("no letter"))
        assert found("a alone") == pytest.approx(
            1.0, abs=0.1
        )  # B is as likely as the least likely, whatever is called B
        with pytest.raises(BadInput, match="tells no log-probabilities"):
            found("no logprobs")
    asked = server.seen[0]
    assert (asked["logprobs"], asked["top_logprobs"], asked["max_tokens"]) == (True, 20, 1)
    assert [body["model"] for body in server.seen[:4]] == ["m", "m", "no letter", "no letter"]


def test_judges_who_contradict_each_other_are_found_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=200)
    odds = np.column_stack([truth, -truth, rng.normal(size=200), rng.normal(size=200)])
    odds[:20, 1] = np.nan
    found = {(o.first, o.second): o for o in oppositions(odds)}
    assert len(found) == 6
    worst = found[0, 1]
    assert (worst.n, worst.opposed) == (180, 180) and worst.q < 1e-20 and worst.low > 0.97
    assert all(o.q > 0.05 for pair, o in found.items() if pair != (0, 1))
    assert all(o.q >= o.p for o in found.values())


def test_oppositions_of_noise_are_rarely_found() -> None:
    """At a false-discovery rate of .05 at most one family in twenty of independent judges has any (here 200 families)."""
    rng = np.random.default_rng(1)
    families = [min(o.q for o in oppositions(rng.normal(size=(60, 5)))) <= 0.05 for _ in range(200)]
    assert sum(families) <= 20


def test_what_leaving_one_out_changes() -> None:
    """Two principles that agree with people and one, louder than both, that does not."""
    odds = np.column_stack([np.full(40, 1.0), np.full(40, 1.0), np.where(np.arange(40) < 10, -3.0, 0.5)])
    names = ["a", "b", "c"]
    agreement = {r["slice"]: r for r in _agreement(odds, names)}
    assert agreement["a"]["value"] == 1.0 and agreement["c"]["value"] == 0.75 and agreement[None]["value"] == 0.75
    assert agreement["c"]["low"] < 0.75 < agreement["c"]["high"] and agreement["c"]["n"] == 40
    without = {r["name"]: r["value"] for r in _without(odds, names, 0)}
    assert without["principles/agreement_change_without/c"] == 0.25
    assert without["principles/turned_without/c"] == 0.25
    assert without["principles/turned_without/a"] == 0.0
