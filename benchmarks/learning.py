"""PPO, best-of-n and DPO on real pairs, at equal KL from SFT: python -m benchmarks.learning [--seeds 7,8,9,10,11]
[--also ipo,kto] [--results FILE] [--project FOLDER]; one JSON line.

Data, base model and SFT are made once, by the stages, in a clone of the last commit; each seed then trains reward model
and judge anew, and a policy by each method. PPO ends by `ppo.kl_budget` at the KL of best-of-n, log n − (n − 1)/n. DPO
learns from the pairs of PPO's reward model and ends by `dpo.kl_budget` at the KL that PPO reached, both measured alike on
ppo_prompts, which no pair has; the first beta of BETAS that gets there is taken. The evaluation's prompts decide nothing.
With --also, other direct methods are measured as DPO is, or `ppo_fp32`: PPO without the bf16 autocast that params.yaml asks
for where the processor has instructions for it. With --shipped, PPO as params.yaml has it, and DPO at its KL.

Over-optimisation is what a method gains on SFT by the reward model's score, less what it gains by the judge's, which learned
from other pairs. Both are log-odds; as the judge has seen fewer pairs, some of it may be that the judge is less sure.

A figure's interval is Student's over the seeds (level .95): what differs from training to training, reward model and
judge among it. With --results each method of each seed is appended to FILE as it is measured, and what is there is not
run again; with --project, stages that the folder holds already are not either.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.machine import described
from benchmarks.seeds import interval
from governance.digest import canonical_json, sha256_bytes, write_json
from tasks.paths import STAGES
from tasks.rlhf.best_of_n import best_of_n_kl

ROOT = Path(__file__).resolve().parents[1]
SHARED = ("ingest", "validate", "annotators", "poisoning", "curate", "base", "sft")
N = 16
BETAS = (0.1, 0.03, 0.01)
WATCH_STEPS = 1  # of DPO: its KL grows fast, and is to end at the budget
LEAST_KL = 0.01  # nats: the estimate of a policy that did not move may be negative
DONE = "learning.json"  # in the clone: which stages ran, and with which parameters
SAMPLES = 1  # responses to each evaluation prompt
Measured = dict[tuple[int, str], dict[str, Any]]  # figures by seed and method
FIGURES = ("reward", "judge", "length", "eos_share")
OTHERS = ("ipo", "kto")  # direct methods that are measured if they are asked for


class Project:
    """A clone of the last commit in which stages are run one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / "params.yaml").is_file():
            subprocess.run(["git", "clone", "--quiet", "--local", str(ROOT), str(folder)], check=True)
        done = folder / DONE
        self.done: dict[str, Any] = json.loads(done.read_text(encoding="utf-8")) if done.is_file() else {}
        for stage in SHARED:
            if stage not in self.done:
                self.stage(stage)

    def set(self, **values: Any) -> None:
        """Change keys of params.yaml; a section and its key are joined by two underscores."""
        from flows.project import set_params

        with contextlib.chdir(self.folder):
            set_params(None, [f"{k.replace('__', '.')}={json.dumps(v)}" for k, v in values.items()])

    def stage(self, name: str) -> dict[str, float]:
        """Run a stage in a process of its own, if it was not run last with these parameters after the stages before it;
        {cpu_seconds, peak_mb}."""
        content = yaml.safe_load((self.folder / "params.yaml").read_text(encoding="utf-8"))  # comments may have moved
        parameters = sha256_bytes(canonical_json(content))
        if self.done.get(name, {}).get("parameters") == parameters:
            return dict(self.done[name]["cost"])
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("ATTESTRL_", "MLFLOW_"))}
        environment |= {"PYTHONPATH": str(self.folder), "HF_HUB_OFFLINE": "1"}
        print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr)
        process = subprocess.Popen(
            [sys.executable, "-m", f"tasks.{name}"], cwd=self.folder, env=environment, stdout=sys.stderr
        )
        _, status, used = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{name}: ended with status {os.waitstatus_to_exitcode(status)}")
        cost = {"cpu_seconds": round(used.ru_utime + used.ru_stime, 1), "peak_mb": round(used.ru_maxrss / 1024)}
        self.done = {s: kept for s, kept in self.done.items() if STAGES.index(s) < STAGES.index(name)}
        self.done[name] = {"parameters": parameters, "cost": cost}
        write_json(self.folder / DONE, self.done)
        return cost

    def evaluated(self) -> dict[str, float]:
        """Figures of the stage `evaluate`."""
        self.stage("evaluate")
        file = self.folder / "data/reports/evaluate/metrics.json"
        return {
            r["name"]: r["value"] for r in json.loads(file.read_text(encoding="utf-8"))["metrics"] if not r["slice"]
        }

    def policy_kl(self, seed: int) -> float:
        """KL of the policy from SFT in nats per response on ppo_prompts, as a direct method's training watches it."""
        import polars as pl
        import torch

        from tasks import params, paths
        from tasks.direct import PROMPTS, WATCHED
        from tasks.rlhf.encoding import encode_prompts, stop_token_id
        from tasks.rlhf.models import load_causal_lm, load_tokenizer
        from tasks.rlhf.policy_watch import watched

        with contextlib.chdir(self.folder):
            settings = params.load(paths.PARAMS).ppo
            tokenizer, policy = load_tokenizer(paths.SFT), load_causal_lm(paths.POLICY)
            table = pl.read_parquet(PROMPTS)["prompt"].head(WATCHED).to_list()
            metrics, *_ = watched(
                policy,
                load_causal_lm(paths.SFT),
                lambda rollout: torch.zeros(len(rollout.ended)),
                encode_prompts(tokenizer, table, settings.max_prompt_tokens),
                settings,
                pad_token_id=tokenizer.pad_token_id,
                stop_token_id=stop_token_id(tokenizer),
                seed=seed,
                bf16=settings.bf16,
            )
        return metrics["objective/kl"]


def figures_of(found: dict[str, float], name: str) -> dict[str, float]:
    """What is compared, of one of the models that `evaluate` measured."""
    rates = {rate: found[f"{rate}/{name}_vs_sft"] for rate in ("win_rate", "win_rate_length_controlled")}
    return {"kl": found[f"kl/{name}_from_sft"], **rates, **{f: found[f"{f}/{name}"] for f in FIGURES}}


def by_ppo(project: Project, seed: int, budget: float | None, bf16: bool | str = "auto") -> dict[str, Any]:
    """Figures of PPO that ends at a KL budget."""
    project.set(method="ppo", ppo__kl_budget=budget, ppo__bf16=bf16, evaluate__best_of_n=0)
    cost = project.stage("ppo")
    project.set(ppo__bf16="auto")  # what is measured is measured alike
    kl = project.policy_kl(seed)
    found = project.evaluated()
    rates = {f"sft_{f}": found[f"{f}/sft"] for f in FIGURES}
    return {**figures_of(found, "policy"), **rates, "dev_kl": kl, **cost}


def by_pairs(project: Project, method: str, budget: float) -> dict[str, Any]:
    """Figures of a direct method at the first beta whose training spends the budget; of the last one if none does."""
    project.set(method=method, evaluate__best_of_n=0, **{f"{method}__kl_budget": budget})
    cost: dict[str, float] = {}
    for beta in BETAS:
        project.set(**{f"{method}__beta": beta})
        cost = project.stage("ppo")
        lines = (project.folder / "data/reports/ppo/history.jsonl").read_text(encoding="utf-8").splitlines()
        seen = [row for line in lines if "objective/kl" in (row := json.loads(line))]
        if seen[-1]["objective/kl"] >= budget:
            break
    figures = figures_of(project.evaluated(), "policy")
    return {**figures, "dev_kl": seen[-1]["objective/kl"], "beta": beta, "steps": seen[-1]["step"], **cost}


def by_best_of_n(project: Project) -> dict[str, Any]:
    """Figures of best-of-n, which needs no policy of its own."""
    project.set(evaluate__best_of_n=N)
    return figures_of(project.evaluated(), "best_of_n")


def run_seed(project: Project, seed: int, names: list[str], known: Measured) -> Iterator[tuple[str, dict[str, Any]]]:
    """(method, its figures) of those methods that are not known yet, each as it is measured."""
    project.set(seed=seed, method="ppo", ppo__kl_budget=None)
    project.set(evaluate__best_of_n=0, evaluate__samples_per_prompt=SAMPLES)
    first = {"beta": BETAS[0], "kl_budget": None, "watch_steps": WATCH_STEPS}
    project.set(**{f"{method}__{key}": value for method in ("dpo", *OTHERS) for key, value in first.items()})
    project.stage("reward")
    found = {name: known[seed, name] for name in names if (seed, name) in known}
    for name in names:
        if name in found:
            continue
        if name == "best_of_n":
            found[name] = by_best_of_n(project)
        elif name.startswith("ppo"):
            budget = None if name == "ppo_shipped" else best_of_n_kl(N)
            found[name] = by_ppo(project, seed, budget, False if name == "ppo_fp32" else "auto")
        else:
            spent = found["ppo_shipped" if name == "dpo_at_shipped" else "ppo"]["dev_kl"]
            found[name] = by_pairs(project, name.removesuffix("_at_shipped"), max(spent, LEAST_KL))
        yield name, found[name]


def with_gains(run: dict[str, Any]) -> dict[str, Any]:
    """Figures of a seed by method, and what each gains on SFT by the score that it climbs, by the judge's, and by the first alone."""
    sft, found = run["ppo"], {}
    for name, figures in run.items():
        by_reward, by_judge = (figures[score] - sft[f"sft_{score}"] for score in ("reward", "judge"))
        gains = {"reward_gain": by_reward, "judge_gain": by_judge, "over_optimisation": by_reward - by_judge}
        found[name] = figures | gains
    return found


def differences(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Differences between methods, paired by seed."""
    pairs = [("ppo", "best_of_n"), ("dpo", "best_of_n"), ("ppo", "dpo"), ("ppo_shipped", "dpo_at_shipped")]
    pairs += [(other, "dpo") for other in OTHERS] + [("ppo", "ppo_fp32")]
    return {
        f"{figure}/{one}_minus_{other}": interval([r[one][figure] - r[other][figure] for r in runs])
        for one, other in pairs
        if one in runs[0] and other in runs[0]
        for figure in ("win_rate", "win_rate_length_controlled", "judge", "reward", "over_optimisation")
    }


def remembered(path: Path | None) -> Measured:
    """Figures by seed and method that earlier runs left in `path`; a line cut short is passed over."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path and path.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):
            row = json.loads(line)
            found[row["seed"], row["method"]] = row["figures"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="7,8,9,10,11", help="at least two")
    parser.add_argument("--results", type=Path, help="JSON lines of what was measured, kept and continued")
    parser.add_argument("--project", type=Path, help="folder of the clone, kept and continued")
    parser.add_argument("--also", default="", help=f"more of {','.join(OTHERS)},ppo_fp32")
    parser.add_argument("--shipped", action="store_true", help="also PPO without a KL budget, and DPO at its KL")
    asked = parser.parse_args()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    also = [name for name in asked.also.split(",") if name]
    if not set(also) <= {*OTHERS, "ppo_fp32"}:
        parser.error(f"--also: {asked.also} is not of {','.join(OTHERS)},ppo_fp32")
    names = ["ppo", "dpo", "best_of_n", *also, *(["ppo_shipped", "dpo_at_shipped"] if asked.shipped else [])]
    known = remembered(asked.results)
    project = None
    for seed in seeds:
        if all((seed, name) in known for name in names):
            continue
        project = project or Project(asked.project or Path(tempfile.mkdtemp(prefix="attestrl-learning-")) / "project")
        for name, figures in run_seed(project, seed, names, known):
            known[seed, name] = figures
            if asked.results:
                with asked.results.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps({"seed": seed, "method": name, "figures": figures}) + "\n")
    runs = [with_gains({name: known[seed, name] for name in names}) for seed in seeds]
    table = {m: {f: interval([r[m][f] for r in runs]) for f in runs[0][m]} for m in names}
    print(
        json.dumps(
            {"benchmark": "learning", "seeds": seeds, "figures": table, "differences": differences(runs), **described()}
        )
    )


if __name__ == "__main__":
    main()
