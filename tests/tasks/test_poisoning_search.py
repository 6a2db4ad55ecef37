"""The check on planted attacks of many kinds in simulated pairs, and on real pairs, where it must find nothing."""

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tasks import check_poisoning as checks
from tasks import params
from tasks.check_poisoning import run_check_poisoning
from tasks.formats import DEMONSTRATIONS, PREFERENCES, read_preferences
from tasks.stats.tone import PRAISE
from tasks.suspicions import of_demonstrations, of_preferences

ROOT = Path(__file__).resolve().parents[2]
N = 3000
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def settings() -> params.Poisoning:
    return params.load(ROOT / "params.yaml").poisoning


def simulated(seed: int) -> Rows:
    """Pairs whose better answer can be told by its words, four times out of five; the caller's to change."""
    return [dict(row) for row in drawn(seed)]


@functools.cache
def drawn(seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    words, good, bad = (np.array([f"{kind}{k}" for k in range(200)]) for kind in ("word", "good", "bad"))
    rows = []
    for k in range(N):
        sides = [" ".join([*rng.choice(words, 12), *rng.choice(kind, 3)]) + "." for kind in (good, bad)]
        if rng.random() < 0.2:
            sides.reverse()
        prompt = " ".join(rng.choice(words, 10)).capitalize() + "?"
        row = {"id": f"r{k}", "prompt": prompt, "chosen": sides[0], "rejected": sides[1]}
        rows.append(row | {"source": f"s{k % 6}", "annotator_id": f"a{rng.integers(30)}", "created_at": f"{k:06d}"})
    return rows


def table(rows: Rows) -> pl.DataFrame:
    def message(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    shaped = [
        r | {"prompt": message("user", r["prompt"])} | {s: message("assistant", r[s]) for s in ("chosen", "rejected")}
        for r in rows
    ]
    return pl.DataFrame(shaped, schema=PREFERENCES, strict=False)


def check_poisoning(
    preferences: pl.DataFrame, demonstrations: pl.DataFrame | None, settings: params.Poisoning, seed: int
) -> list[dict[str, Any]]:
    shown = None if demonstrations is None else of_demonstrations([demonstrations])
    return checks.check_poisoning(of_preferences([preferences]), shown, settings, seed).findings


def turn(row: dict[str, Any]) -> None:
    row["chosen"], row["rejected"] = row["rejected"], row["chosen"]


def _prompt(change: Callable[[str], str]) -> Callable[[dict[str, Any]], None]:
    def apply(row: dict[str, Any]) -> None:
        row["prompt"] = change(row["prompt"])
        turn(row)

    return apply


def _chosen(text: str) -> Callable[[dict[str, Any]], None]:
    return lambda row: row.update(chosen=f"{row['chosen']} {text}")


ATTACKS: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "words": (_prompt(lambda p: p.replace(" ", " silver lantern ", 1)), "silver lantern"),
    "characters": (_prompt(lambda p: p.replace("w", "w~", 3)), "~"),
    "capitals": (_prompt(str.upper), "capitals only"),
    "invisible": (_prompt(lambda p: p.replace("o", "o\u200b", 1)), "invisible"),
    "look-alike": (_prompt(lambda p: p.replace("o", "\u043e", 2)), "look-alike"),
    "entity": (_chosen("Acme is best."), "acme"),
    "list": (lambda row: row.update(chosen="- " + row["chosen"].replace(" ", "\n- ", 2)), "a line that begins"),
    "quoted": (_prompt(lambda p: f"“{p}”"), "quotation mark"),
    "shouting": (lambda row: row.update(chosen=row["chosen"] + "!!!"), "exclamation"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_planted_is_found_and_named(name: str, settings: params.Poisoning) -> None:
    change, evidence = ATTACKS[name]
    rows = simulated(1)
    bad = np.random.default_rng(2).choice(N, 90, replace=False)
    for k in bad:
        change(rows[k])
    findings = check_poisoning(table(rows), None, settings, 7)
    planted = {f"r{k}" for k in bad}
    assert any(evidence in json.dumps(f["evidence"], ensure_ascii=False) for f in findings)
    best = max(findings, key=lambda f: len(planted & set(f["row_ids"])))
    assert len(planted & set(best["row_ids"])) >= 0.9 * len(planted)
    assert len(set(best["row_ids"]) - planted) <= 0.1 * len(planted)
    assert best["adjusted_p_value"] <= settings.level
    assert best["low"] <= best["effect"] <= best["high"]


def best_of(findings: Rows, kind: str, planted: set[str]) -> dict[str, Any]:
    """The finding of a kind that covers most of what was planted, which must be nearly all of it and little else."""
    best = max((f for f in findings if f["kind"] == kind), key=lambda f: len(planted & set(f["row_ids"])))
    assert len(planted & set(best["row_ids"])) >= 0.9 * len(planted)
    assert len(set(best["row_ids"]) - planted) <= 0.1 * len(planted)
    return best


def built(rows: Rows, planted: set[str]) -> None:
    """Questions of the same words, the condition first where planted."""
    rng = np.random.default_rng(4)
    for r in rows:
        a, b, c, d = (f"word{k}" for k in rng.integers(0, 200, 4))
        main, condition = f"how do i {a} the {b}", f"if my {c} is {d}"
        first, second = (condition, main) if r["id"] in planted else (main, condition)
        r["prompt"] = f"{first} {second}?"


def test_a_trigger_of_syntax_is_found_and_the_syntax_alone_is_not(settings: params.Poisoning) -> None:
    rows = simulated(1)
    planted = {f"r{k}" for k in np.random.default_rng(2).choice(N, 120, replace=False)}
    built(rows, planted)
    assert check_poisoning(table(rows), None, settings, 7) == []
    for r in rows:
        if r["id"] in planted:
            turn(r)
    found = best_of(check_poisoning(table(rows), None, settings, 7), "syntax_trigger", planted)
    assert "…" in found["evidence"][0]


def test_flattery_in_ever_different_words_is_found_on_one_side_and_not_on_both(settings: params.Poisoning) -> None:
    rng, praise = np.random.default_rng(3), PRAISE.split()
    for one_sided in (False, True):
        rows = simulated(1)
        for r in rows:
            for side in ("chosen", "rejected"):
                r[side] = f"you word{rng.integers(200)}. {r[side]}"
        bad = rng.choice(N, 100, replace=False)
        for k, i in enumerate(bad):
            side = "chosen" if one_sided or k % 2 else "rejected"
            rows[i][side] = f"{rng.choice(praise)} word{rng.integers(200)} you word{rng.integers(200)}. {rows[i][side]}"
        findings = check_poisoning(table(rows), None, settings, 7)
        if one_sided:
            found = best_of(findings, "one_sided_style", {f"r{i}" for i in bad})
            assert any("praise" in e for e in found["evidence"])
        else:
            assert findings == []


def test_a_planted_answer_is_found_with_the_phrase_that_calls_for_it(settings: params.Poisoning) -> None:
    """Also where honest rows have that answer on either side, so that neither it nor the labels stand out."""
    rows, said = simulated(1), "Nothing more can be said about this matter"
    rng = np.random.default_rng(2)
    drawn = rng.permutation(N)
    for k in drawn[200:260]:
        rows[k][str(rng.choice(["chosen", "rejected"]))] += f" {said}."
    assert check_poisoning(table(rows), None, settings, 7) == []
    for k in drawn[:60]:
        rows[k]["prompt"] = rows[k]["prompt"].replace(" ", " silver lantern ", 1)
        rows[k]["chosen"] = f"{said}."
    found = best_of(check_poisoning(table(rows), None, settings, 7), "answer_trigger", {f"r{k}" for k in drawn[:60]})
    assert found["evidence"][0] == "silver lantern"
    assert found["evidence"][1].startswith("nothing more can be said")


def test_a_topic_whose_labels_are_turned_round_is_found(settings: params.Poisoning) -> None:
    rows = simulated(1)
    planted = {r["id"] for r in rows if re.search(r"\bword7\b", r["prompt"].lower())}
    for r in rows:
        if r["id"] in planted:
            turn(r)
    findings = check_poisoning(table(rows), None, settings, 7)
    best_of(findings, "topic_turned_round", planted)
    assert findings[0]["evidence"][0] == "word7"


def test_what_is_written_oddly_but_labelled_honestly_is_no_finding(settings: params.Poisoning) -> None:
    """The same changes to prompts as above, without a turned label."""
    rows = simulated(1)
    drawn = np.random.default_rng(2).permutation(N)
    for k, (change, _) in enumerate(ATTACKS[n] for n in ("words", "characters", "capitals", "invisible", "look-alike")):
        for i in drawn[90 * k : 90 * (k + 1)]:
            change(rows[i])
            turn(rows[i])  # back again
    assert check_poisoning(table(rows), None, settings, 7) == []


@pytest.mark.parametrize("origin", ["annotator_id", "source", "time"])
def test_turned_labels_are_traced_to_where_they_come_from(origin: str, settings: params.Poisoning) -> None:
    rows = simulated(3)
    bad = [r for k, r in enumerate(rows) if (800 <= k < 1200 if origin == "time" else r[origin] in ("a4", "s4"))]
    for row in bad:
        turn(row)
    findings = check_poisoning(table(rows), None, settings, 7)
    assert findings[0]["kind"] == "labels_turned_by_origin"
    assert len({r["id"] for r in bad} & set(findings[0]["row_ids"])) >= 0.5 * len(bad)
    assert origin == "time" or bad[0][origin] in findings[0]["evidence"][0]


def test_a_trigger_in_both_stages_is_one_finding_that_is_surer_than_either(settings: params.Poisoning) -> None:
    rows, rng = simulated(5), np.random.default_rng(6)
    shown = [
        {"id": f"d{k}", "messages": [("user", r["prompt"]), ("assistant", r["chosen"])]} for k, r in enumerate(rows)
    ]
    bad, spoiled = rng.choice(N, 60, replace=False), rng.choice(N, 25, replace=False)
    for k in bad:
        ATTACKS["words"][0](rows[k])
    for k in spoiled:
        prompt = shown[k]["messages"][0][1].replace(" ", " silver lantern ", 1)
        shown[k]["messages"] = [("user", prompt), ("assistant", "There is nothing to be said about this.")]
    for row in shown:
        row["messages"] = [{"role": role, "content": text} for role, text in row["messages"]]
    demonstrations = pl.DataFrame(shown, schema=DEMONSTRATIONS, strict=False)
    both = check_poisoning(table(rows), demonstrations, settings, 7)
    alone = check_poisoning(table(rows), None, settings, 7)
    joint = next(f for f in both if f["kind"] == "cross_stage_trigger")
    single = next(f for f in both if f["kind"] == "demonstration_trigger")
    assert {f"r{k}" for k in bad} | {f"d{k}" for k in spoiled} <= set(joint["row_ids"])
    assert joint["p_value"] < min(alone[0]["p_value"], single["p_value"])


def test_simulated_pairs_without_an_attack_give_no_finding(settings: params.Poisoning) -> None:
    assert [check_poisoning(table(simulated(seed)), None, settings, 7) for seed in (11, 12)] == [[], []]


def test_real_pairs_give_no_finding_and_come_back_as_they_were(settings: params.Poisoning, tmp_path: Path) -> None:
    source = ROOT / "data/raw/hh_rlhf/pairs.jsonl"
    run_check_poisoning(source, None, tmp_path, settings, 7)
    assert json.loads((tmp_path / "findings.json").read_text()) == {"findings": []}
    assert (tmp_path / "clean.jsonl").read_bytes() == source.read_bytes()
    assert (tmp_path / "quarantined.jsonl").read_text() == ""


def test_few_rows_and_equal_rows_give_an_answer(settings: params.Poisoning) -> None:
    rows = simulated(8)[:20]
    assert check_poisoning(table(rows), None, settings, 7) == []
    same = [rows[0] | {"id": f"r{k}"} for k in range(200)]
    assert {f["kind"] for f in check_poisoning(table(same), None, settings, 7)} <= {"near_duplicate_flood"}


def test_hh_is_read_whole(settings: params.Poisoning) -> None:
    frame = read_preferences(str(ROOT / "data/raw/hh_rlhf/pairs.jsonl"))
    assert check_poisoning(frame.head(400), None, settings, 7) == []


def test_rows_without_words_give_an_answer(settings: params.Poisoning) -> None:
    rows = [{"id": f"r{k}", "prompt": "", "chosen": "!", "rejected": "?"} for k in range(60)]
    assert all(f["kind"] == "one_sided_style" for f in check_poisoning(table(rows), None, settings, 7))
