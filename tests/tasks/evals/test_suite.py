"""Every evaluation of the suite on tiny real models: records are complete, and say what must be true."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from governance.errors import BadInput
from tasks.evals import ratings, suite
from tasks.evals.verdict import verdict
from tasks.evaluation_params import Hypotheses
from tests.tasks.evals.conftest import bench_of

pytestmark = pytest.mark.xdist_group("evals")
PROMPTS = [[{"role": "user", "content": text}] for text in ("Hello there.", "How are you?", "What is bread?")]
NAMED = ("harness", "inspect", "fine_tuning")  # nothing to do unless params.yaml names tasks or files


def figures(results: dict[str, dict[str, Any]], name: str) -> dict[tuple[str, str | None], dict[str, Any]]:
    return {(r["metric"], r["slice"]): r for r in results[name]["results"]}


def test_every_evaluation_gives_complete_records(results: dict[str, dict[str, Any]]) -> None:
    assert set(results) == set(suite.EVALUATIONS)
    for name, content in results.items():
        # A judge made in a minute may call every plain answer harmful, and the red team then says so.
        why = "names no" if name in NAMED else "no attack can be seen to succeed" if name == "red_team" else None
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
        wins, ties, rate = (found[(f"preference/{m}/{match}", None)]["value"] for m in ("wins", "ties", "win_rate"))
        assert rate == pytest.approx(wins + ties / 2)
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


def test_unknown_names_are_refused() -> None:
    assert suite.check_names(["harm", "preference"]) == ["preference", "harm"]
    with pytest.raises(BadInput, match="--suite nope"):
        suite.check_names(["nope"])


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
