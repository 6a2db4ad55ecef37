"""Stage `ppo`: the policy, from the SFT model, by the `method` that params.yaml names; a method is a file of `tasks/methods`."""

from pathlib import Path

from governance.digest import sha256_path, write_json, write_jsonl
from governance.errors import GateRefused
from tasks import paths
from tasks.checkpoints import checkpoints_of
from tasks.lineage import lineage_of, read_record
from tasks.methods.interface import method_of
from tasks.plots import save_curves
from tasks.rlhf.models import load_tokenizer, merged, save_model
from tasks.stage import Stage, run_stage


def body(stage: Stage) -> None:
    """Write `data/models/policy`."""
    name = stage.notes["method"] = stage.params.method
    method = method_of(name)
    stage.input_model(paths.SFT)
    stage.input_model(paths.REWARD)
    lineage = _lineage(method.table) | method.also(stage)
    tokenizer = load_tokenizer(paths.SFT)
    checkpoints = checkpoints_of(stage, lineage)
    policy, history, samples = method.train(stage, tokenizer, checkpoints)
    if stage.follows:
        return
    save_model(merged(policy), tokenizer, paths.POLICY)
    write_json(paths.POLICY / "lineage.json", lineage)
    tags = {**lineage, "method": name, "reward_model_version": _reward_version()}
    stage.output_model(paths.POLICY, tags, register_as=f"{stage.params.project}-policy")
    write_jsonl(stage.report / "history.jsonl", history)
    write_jsonl(stage.report / "samples.jsonl", samples)
    save_curves(history, method.panels, stage.report / "curves.png", name.upper(), x="step")
    stage.log_artifact(stage.report / "curves.png")
    stage.log_history(history, paths.POLICY, method.table)
    last = {k: v for row in history for k, v in row.items() if k not in ("step", "epoch")}
    stage.log_metrics(last, step=history[-1]["step"], model=paths.POLICY, table=method.table)
    checkpoints.remove()


def _lineage(table: Path) -> dict[str, str]:
    """Digests of everything the policy comes from, the pairs or prompts in `table` among it. Raises GateRefused if the reward model has another base."""
    sft, reward = lineage_of(paths.SFT), lineage_of(paths.REWARD)
    if sft["base_sha256"] != reward["base_sha256"]:
        raise GateRefused(
            "data/models/reward was trained on another base than data/models/sft; a reward model does not carry over "
            "to a new base: run again from reward."
        )
    return sft | reward | {"data_sha256": sha256_path(table)}


def _reward_version() -> str:
    """Registered version of the reward model, from the record of the stage that made it."""
    return str(read_record("reward").get("notes", {}).get("registered", {}).get("version", "unregistered"))


if __name__ == "__main__":
    run_stage("ppo", body)
