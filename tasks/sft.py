"""Stage `sft`: supervised fine-tuning of the base on demonstrations."""

import math

import polars as pl

from governance.digest import sha256_path, write_json, write_jsonl
from governance.errors import BadInput
from tasks import paths
from tasks.checkpoints import checkpoints_of
from tasks.lineage import lineage_of
from tasks.plots import save_curves
from tasks.revisions import revised
from tasks.rlhf.encoding import encode_pairs, stop_token_id
from tasks.rlhf.models import load_causal_lm, load_tokenizer, merged, save_model
from tasks.rlhf.sft_trainer import Encoded, curves_into, train_sft
from tasks.rlhf.sharding import plain
from tasks.splits import position
from tasks.stage import Stage, run_stage
from tasks.trainings import as_trained, resume_of

DATA = paths.PROCESSED / "sft.parquet"
DEV_SHARE = 0.1


def body(stage: Stage) -> None:
    """Write `data/models/sft`."""
    base = stage.input_model(paths.BASE)
    rows = pl.read_parquet(stage.input_table(DATA, "training")).select("id", "messages")
    revisions, of_revisions = revised(stage, rows)
    rows = pl.concat([rows, revisions])
    tokenizer = load_tokenizer(base, trust_remote_code=stage.params.base.trust_remote_code)
    model = load_causal_lm(base, trust_remote_code=stage.params.base.trust_remote_code)
    messages = rows["messages"].to_list()
    encoded = encode_pairs(
        tokenizer,
        [m[:-1] for m in messages],
        [m[-1:] for m in messages],
        stop_token_id(tokenizer),
        stage.params.sft.max_length,
    )
    train, dev = split_dev(encoded, rows["id"].to_list())

    history: list[dict[str, float]] = []
    trained = as_trained(stage, model, "CAUSAL_LM", stage.seed)
    lineage = lineage_of(paths.BASE) | {"data_sha256": sha256_path(DATA)} | of_revisions
    checkpoints = checkpoints_of(stage, lineage)
    resume = resume_of(stage, checkpoints, "sft", stage.params.sft.save_steps)
    final = train_sft(trained, tokenizer, train, dev, stage.params.sft, stage.seed, curves_into(history), resume)
    trained = plain(trained)
    if stage.follows:
        return
    save_model(merged(trained), tokenizer, paths.SFT)
    write_json(paths.SFT / "lineage.json", lineage)
    stage.output_model(paths.SFT, lineage)
    write_jsonl(stage.report / "history.jsonl", history)
    save_curves(history, {"loss": ["loss", "eval_loss"]}, stage.report / "loss.png", "SFT")
    stage.log_artifact(stage.report / "loss.png")
    stage.log_history(history, paths.SFT, DATA)
    figures = {
        "dev/loss": final["loss"],
        "dev/perplexity": math.exp(final["loss"]),
        "dev/mean_token_accuracy": final["mean_token_accuracy"],
    }
    stage.log_metrics(figures, model=paths.SFT, table=DATA)
    checkpoints.remove()


def split_dev(encoded: Encoded, ids: list[str]) -> tuple[Encoded, Encoded]:
    """(training, dev) conversations by a hash of their id, neither of them empty."""
    if len(encoded) < 2:
        raise BadInput(
            f"{DATA}: has {len(encoded)} demonstrations and SFT needs at least two; give ingest.demonstrations or a "
            "larger ingest.shares.sft."
        )
    is_dev = [position("dev:" + i) < DEV_SHARE for i in ids]
    train = [e for e, dev in zip(encoded, is_dev, strict=True) if not dev]
    dev = [e for e, dev in zip(encoded, is_dev, strict=True) if dev]
    return (train, dev) if train and dev else (encoded[1:], encoded[:1])


if __name__ == "__main__":
    run_stage("sft", body)
