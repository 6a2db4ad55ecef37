"""Every evaluation of the suite on tiny real models: records are complete, and say what must be true."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from governance.errors import BadInput
from tasks.evals import preference, ratings, suite, uncertainty
from tasks.evals.held_out import held_out_prompts
from tasks.evals.verdict import verdict
from tasks.evaluation_params import Hypotheses
from tasks.review_store import Compared
from tasks.rlhf.ensembles import save_rule
from tests.tasks.evals.conftest import bench_of

pytestmark = pytest.mark.xdist_group("evals")
PROMPTS = [[{"role": "user", "content": text}] for text in ("Hello there.", "How are you?", "What is bread?")]
ELSE = {"red_team": "no attack can be seen to succeed", "training": "is not the run's any more"}
NAMED = ("harness", "inspect", "fine_tuning")  # nothing to do unless params.yaml names tasks or files


def figures(results: dict[str, dict[str, Any]], name: str) -> dict[tuple[str, str | None], dict[str, Any]]:
    return {(r["metric"], r["slice"]): r for r in results[name]["results"]}


def test_every_evaluation_gives_complete_records(results: dict[str, dict[str, Any]]) -> None:
    assert set(results) == set(suite.EVALUATIONS)
    for name, content in results.items():
        # A judge made in a minute may call every plain answer harmful, and the red team then says so.
        why = "names no" if name in NAMED else ELSE.get(name)
        assert content["results"] or (why and why in content["notes"][0])
        for r in content["results"]:
            assert r["n"] > 0 and r["seed"] == 7 and r["data"] and r["level"] == 0.95
            assert all(len(sha) == 64 for sha in (*r["data"].values(), *r["models"].values()))
            if r["value"] is not None:
                assert r["low"] - 1e-9 <= r["value"] <= r["high"] + 1e-9 or "surface" in r["metric"], r
        names = [(r["metric"], r["slice"]) for r in content["results"]]
        assert len(names) == len(set(names))


def test_wins_and_losses_of_a_match_sum_to_one(results: dict[str, dict[str, Any]]) -> None:
    found = figures(results, "preference")
    for match in ("policy_vs_sft", "policy_vs_base", "sft_vs_base"):
        names = ("wins", "ties", "losses", "win_rate")
        wins, ties, losses, rate = (found[(f"preference/{m}/{match}", None)]["value"] for m in names)
        assert rate == pytest.approx(wins + ties / 2) and wins + ties + losses == pytest.approx(1)
    people = found[("preference/agreement/people_with_people/pandalm", None)]["value"]
    assert 0.5 < people < 1


def test_the_judges_agreement_with_people_stands_beside_the_win_rates(results: dict[str, dict[str, Any]]) -> None:
    rows = results["preference"]["results"]
    (line,) = verdict(Hypotheses(), rows)["judge"]
    found = figures(results, "preference")[("preference/agreement/judge_with_people/pandalm", None)]
    assert f"in {found['value']:.3f} (" in line and "people agree with each other in" in line
    assert "was not measured" in verdict(Hypotheses(), [r for r in rows if "agreement" not in r["metric"]])["judge"][0]
    assert verdict(Hypotheses(), results["harm"]["results"])["judge"] == []


def test_differences_are_those_of_the_means(results: dict[str, dict[str, Any]]) -> None:
    found = figures(results, "capability")
    policy, sft = (found[(f"capability/bits_per_byte/{m}", None)]["value"] for m in ("policy", "sft"))
    assert found[("capability/bits_per_byte/policy_minus_sft", None)]["value"] == pytest.approx(policy - sft)
    assert policy > 0 and math.isfinite(policy)


def test_a_registered_copy_of_sft_is_rated_like_sft(bench_folder: Path, tmp_path: Path) -> None:
    bench = replace(bench_of(bench_folder, tmp_path / "a.sqlite"), rated={"version 1": bench_folder / "sft"})
    found = {r.metric.removeprefix("ratings/elo_above_sft/"): r for r in ratings.run(bench).results}
    assert set(found) == {"base", "policy", "version_1"}
    assert (found["version_1"].value, found["version_1"].low) == (pytest.approx(0), pytest.approx(0))


def test_the_policy_meets_every_policy_of_the_registry(bench_folder: Path, tmp_path: Path) -> None:
    """A copy of SFT is beaten as SFT is, by the first response to each prompt."""
    bench = bench_of(bench_folder, tmp_path / "a.sqlite", samples=1, pairs={})
    bench.rated = {"version 1": bench_folder / "sft"}
    found = {r.metric: r for r in preference.run(bench).results}
    for figure in ("win_rate", "wins", "ties", "losses", "length_controlled"):
        own, other = (found[f"preference/{figure}/policy_vs_{m}"] for m in ("sft", "version_1"))
        assert (own.value, own.low, own.high, own.n) == (other.value, other.low, other.high, other.n)
    assert set(found["preference/win_rate/policy_vs_version_1"].models) == {"policy", "version 1", "judge"}


def test_people_judge_the_pairs_that_they_compared(bench_folder: Path, tmp_path: Path) -> None:
    """Of eight people's verdicts five are for the policy, one is for neither; who answered in a fixed place is biased."""
    bench = bench_of(bench_folder, tmp_path / "a.sqlite", samples=1, pairs={})
    prompts = held_out_prompts(bench)
    both = [bench.respond(m, prompts, samples=1).texts for m in ("policy", "sft")]
    said = [0, 0, 0, 0, 0, None, 1, 1]
    bench.people = [
        Compared([dict(m) for m in p], (a, b), better, 0) for p, a, b, better in zip(prompts, *both, said, strict=True)
    ]
    bench.people.append(Compared([{"role": "user", "content": "of another run"}], ("a", "b"), 0, 0))
    outcome = preference.run(bench)
    found = {r.metric.removesuffix("/policy_vs_sft"): r for r in outcome.results if r.slice == "judge: people"}
    assert found["preference/win_rate"].value == pytest.approx(5.5 / 8) and found["preference/win_rate"].n == 8
    shares = [found[f"preference/{m}"].value for m in ("wins", "ties", "losses")]
    assert shares == pytest.approx([5 / 8, 1 / 8, 2 / 8])
    assert found["preference/position_bias"].value == pytest.approx(5.5 / 8 - 0.5)
    assert set(found["preference/win_rate"].data) == {"eval_prompts", "review"}
    (agreement,) = (r for r in outcome.results if r.metric == "preference/agreement/judge_with_people/review")
    assert (
        agreement.n == 9
        and "pairs of review" in verdict(Hypotheses(), [r.as_dict() for r in outcome.results])["judge"][0]
    )


def test_an_ensemble_scores_by_its_rule_and_its_disagreement_is_measured(bench_folder: Path, tmp_path: Path) -> None:
    both = shutil.copytree(bench_folder / "reward", tmp_path / "both")
    shutil.copytree(bench_folder / "judge", both / "member-2")
    save_rule(both, SimpleNamespace(members=2, rule="worst", variance_weight=0.0))
    bench = bench_of(bench_folder, tmp_path / "a.sqlite", pairs={})
    answers = bench.respond("policy", PROMPTS)
    apart = [bench.score(name, answers.ids, answers.lengths) for name in ("reward", "judge")]
    bench = replace(bench, scorers={"reward": both, "judge": bench_folder / "judge"}, _models={}, _scores={})
    assert bench.score("reward", answers.ids, answers.lengths) == pytest.approx(np.minimum(*apart))
    outcome = uncertainty.run(bench)
    found = {r.metric for r in outcome.results}
    assert {f"uncertainty/auroc/{m}/held_out" for m in ("disagreement", "entropy", "ensemble")} <= found
    assert len(outcome.outputs) == 16 and all(row["members_sd"] > 0 for row in outcome.outputs)


def test_every_response_has_its_uncertainty(results: dict[str, dict[str, Any]]) -> None:
    outputs = results["uncertainty"]["outputs"]
    assert len(outputs) == 16 and {row["members_sd"] for row in outputs} == {0.0}
    worst = max(outputs, key=lambda row: row["disagreement"])
    assert results["uncertainty"]["review"][0]["responses"] == [worst["response"]]
    assert all(row["entropy"] > 0 and math.isfinite(row["reward"] + row["judge"]) for row in outputs)


def test_unknown_names_are_refused() -> None:
    assert suite.check_names(["harm", "preference"]) == ["preference", "harm"]
    with pytest.raises(BadInput, match="--suite nope"):
        suite.check_names(["nope"])


@pytest.mark.parametrize(
    ("section", "row"),
    [
        ("pairs", {"input": "Hi", "output_1": "a", "output_2": "b"}),
        ("harmful", {"no": "prompt"}),
        ("sycophancy", {"question": "q"}),
        ("pronouns", {"sentence_with_blank": "_"}),
        ("multiple_choice", {"question": "q", "choices": ["a", "b"]}),
        ("instructions", {"prompt": "p", "instruction_id_list": ["keywords:existence"], "kwargs": [{}]}),
        ("problems", {"question": "q", "answer": "none"}),
        ("harmless", {"prompt": [{"role": "user", "content": 5}]}),
        ("multiple_choice", {"input": "q", "target_scores": {"a": "1", "b": None}}),
        ("multiple_choice", {"question": "q", "choices": {"text": ["a", "b"], "label": True}}),
        ("instructions", {"prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": ["x"]}),
    ],
)
def test_a_bad_file_is_refused_before_anything_is_measured(
    bench_folder: Path, tmp_path: Path, section: str, row: dict[str, Any]
) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    bench = bench_of(bench_folder, tmp_path / "a.sqlite", **{section: {"mine": str(tmp_path / "mine.jsonl")}})
    with pytest.raises(BadInput, match=rf"^suite\.{section}\.mine: .*mine\.jsonl: line 1: .*\.$"):
        suite.run(bench, ["harm"], tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_a_response_depends_on_its_own_digest_alone(bench_folder: Path, tmp_path: Path) -> None:
    whole = bench_of(bench_folder, tmp_path / "a.sqlite").respond("sft", PROMPTS)
    alone = bench_of(bench_folder, tmp_path / "b.sqlite").respond("sft", PROMPTS[2:])
    assert whole.texts[4:] == alone.texts
    assert whole.texts[0] != whole.texts[1]


def test_cached_responses_need_no_model(bench_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bench_of(bench_folder, tmp_path / "a.sqlite").respond("policy", PROMPTS)
    again = bench_of(bench_folder, tmp_path / "a.sqlite")
    monkeypatch.setattr(again, "language_model", lambda name: pytest.fail("the model was loaded"))
    second = again.respond("policy", PROMPTS)
    assert second.ids == first.ids and np.array_equal(second.entropy, first.entropy)


def test_each_model_is_loaded_once(bench_folder: Path, tmp_path: Path) -> None:
    bench = bench_of(bench_folder, tmp_path / "a.sqlite")
    assert bench.language_model("sft")[1] is bench.language_model("sft")[1]
    assert bench.scorer("judge")[1] is bench.scorer("judge")[1]
