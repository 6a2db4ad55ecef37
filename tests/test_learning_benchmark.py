"""What the comparison of methods makes of its measurements, on figures whose answer is known."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import learning


def measured(win_rate: float) -> dict[str, Any]:
    rates = {"win_rate": win_rate, "win_rate_length_controlled": 0.5, "over_optimisation": 0.0}
    return rates | {"judge": 1.0, "reward": win_rate * 10}


def test_differences_are_paired_by_seed() -> None:
    """Seeds differ much, methods by the same amount with every seed: the interval is that of the difference."""
    runs = [{"ppo": measured(w + 0.1), "dpo": measured(w), "best_of_n": measured(0.5)} for w in (0.2, 0.5, 0.8)]
    found = learning.differences(runs)
    assert found["win_rate/ppo_minus_dpo"] == {"mean": 0.1, "low": 0.1, "high": 0.1}
    wide = found["win_rate/ppo_minus_best_of_n"]
    assert wide["mean"] == 0.1 and wide["high"] - wide["low"] > 1  # t(2) = 4.303
    assert not any("shipped" in name for name in found)


def test_over_optimisation_is_the_gain_that_the_judge_does_not_see() -> None:
    sft = {"sft_reward": 1.0, "sft_judge": 2.0}
    run = {"ppo": {"reward": 1.5, "judge": 2.1, **sft}, "kto": {"reward": 1.2, "judge": 2.3}}
    found = learning.with_gains(run)
    assert found["ppo"]["reward_gain"] == pytest.approx(0.5) and found["ppo"]["judge_gain"] == pytest.approx(0.1)
    assert found["ppo"]["over_optimisation"] == pytest.approx(0.4)
    assert found["kto"]["over_optimisation"] == pytest.approx(-0.1)


class Recorded:
    """A project that trains nothing: the KL that is watched is 1 nat at the first beta and 2 at any other."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.values, self.methods = folder, {}, []  # type: ignore[var-annotated]
        (folder / "data/reports/ppo").mkdir(parents=True)

    def set(self, **values: Any) -> None:
        self.values |= values

    def stage(self, name: str) -> dict[str, float]:
        if name == "ppo":
            self.methods.append(self.values["method"])
            kl = 1.0 if self.values.get(f"{self.methods[-1]}__beta") == learning.BETAS[0] else 2.0
            history = {"step": 1, "objective/kl": kl}
            (self.folder / "data/reports/ppo/history.jsonl").write_text(json.dumps(history), encoding="utf-8")
        return {"cpu_seconds": 1.0}

    def evaluated(self) -> dict[str, float]:
        names = [f"{figure}/{who}" for figure in learning.FIGURES for who in ("policy", "sft")]
        names += ["kl/policy_from_sft", "win_rate/policy_vs_sft", "win_rate_length_controlled/policy_vs_sft"]
        return dict.fromkeys(names, 0.5)


def test_every_direct_method_ends_at_the_kl_of_ppo(tmp_path: Path) -> None:
    project, known = Recorded(tmp_path), {(7, "ppo"): {"dev_kl": 1.5}, (7, "best_of_n"): {}}
    names = ["ppo", "dpo", "best_of_n", "ipo", "kto"]
    found = dict(learning.run_seed(project, 7, names, known))  # type: ignore[arg-type]
    assert project.methods == [name for name in ("dpo", "ipo", "kto") for _ in range(2)]
    assert list(found) == ["dpo", "ipo", "kto"]
    assert all((row["beta"], row["dev_kl"]) == (learning.BETAS[1], 2.0) for row in found.values())
    assert all(project.values[f"{name}__kl_budget"] == 1.5 for name in found)


def test_a_measurement_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    line = json.dumps({"seed": 7, "method": "ppo", "figures": measured(0.5)})
    file.write_text(line + "\n" + line.replace("ppo", "dpo")[:-9], encoding="utf-8")
    assert list(learning.remembered(file)) == [(7, "ppo")]
    assert learning.remembered(tmp_path / "none") == learning.remembered(None) == {}


def test_figures_of_one_model_are_not_those_of_another() -> None:
    found = {f"{f}/{m}": v for m, v in (("policy", 1.0), ("best_of_n", 2.0)) for f in learning.FIGURES}
    found |= {
        f"{r}/{m}_vs_sft": v
        for m, v in (("policy", 0.1), ("best_of_n", 0.2))
        for r in ("win_rate", "win_rate_length_controlled")
    }
    found |= {"kl/policy_from_sft": 3.0, "kl/best_of_n_from_sft": 4.0}
    best = learning.figures_of(found, "best_of_n")
    assert (best["reward"], best["win_rate"], best["kl"]) == (2.0, 0.2, 4.0)
    assert learning.figures_of(found, "policy")["length"] == 1.0


def test_a_stage_runs_again_only_for_other_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = learning.Project.__new__(learning.Project)
    project.folder, project.done = tmp_path, {}
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/__init__.py").touch()
    for stage in ("sft", "reward", "evaluate"):
        (tmp_path / f"tasks/{stage}.py").write_text(f"open('ran', 'a').write('{stage} ')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for parameters, stage in (("a", "sft"), ("a", "reward"), ("a", "evaluate"), ("b", "reward"), ("b", "evaluate")):
        (tmp_path / "params.yaml").write_text(parameters, encoding="utf-8")
        cost = [project.stage(stage) for _ in range(2)]
        assert cost[0] == cost[1] and cost[0]["peak_mb"] > 1
    assert (tmp_path / "ran").read_text() == "sft reward evaluate reward evaluate "
    assert set(project.done) == {"sft", "reward", "evaluate"}
