"""Stage `sft`: supervised fine-tuning of the base on demonstrations."""

import polars as pl

from governance.digest import sha256_path, write_json, write_jsonl
from governance.errors import BadInput
from tasks import paths
from tasks.lineage import lineage_of
from tasks.plots import save_curves
from tasks.rlhf.encoding import encode_pairs, stop_token_id
from tasks.rlhf.models import load_causal_lm, load_tokenizer, merged, save_model, with_lora
from tasks.rlhf.sft_trainer import train_sft
from tasks.splits import position
from tasks.stage import Stage, run_stage

DATA = paths.PROCESSED / "sft.parquet"
DEV_SHARE = 0.1


def body(stage: Stage) -> None:
    """Write `data/models/sft`."""
    settings = stage.params.sft
    base = stage.input_model(paths.BASE)
    rows = pl.read_parquet(stage.input_table(DATA, "training"))
    tokenizer, model = load_tokenizer(base), load_causal_lm(base)
    stop = stop_token_id(tokenizer)
    messages = rows["messages"].to_list()
    encoded = encode_pairs(tokenizer, [m[:-1] for m in messages], [m[-1:] for m in messages], stop, settings.max_length)
    is_dev = [position(i) < DEV_SHARE for i in rows["id"].to_list()]
    train = [e for e, dev in zip(encoded, is_dev, strict=True) if not dev]
    dev = [e for e, dev in zip(encoded, is_dev, strict=True) if dev] or train[:1]
    if not train:
        raise BadInput(f"{DATA}: has no demonstrations to train on; give ingest.demonstrations or a larger sft share.")

    history: list[dict[str, float]] = []

    def on_log(step: int, values: dict[str, float]) -> None:
        history.append({"step": step, **{k: v for k, v in values.items() if "runtime" not in k and "second" not in k}})

    trained = with_lora(model, stage.params.lora, "CAUSAL_LM") if stage.params.lora.enabled else model
    final = train_sft(trained, tokenizer, train, dev, settings, stage.seed, on_log)
    save_model(merged(trained), tokenizer, paths.SFT)
    lineage = lineage_of(paths.BASE) | {"data_sha256": sha256_path(DATA)}
    write_json(paths.SFT / "lineage.json", lineage)
    stage.output_model(paths.SFT, lineage)
    write_jsonl(stage.report / "history.jsonl", history)
    save_curves(history, {"loss": ["loss", "eval_loss"]}, stage.report / "loss.png", "SFT")
    stage.log_artifact(stage.report / "loss.png")
    stage.log_history(history)
    stage.log_metrics({f"dev/{k}": final[k] for k in ("loss", "mean_token_accuracy")}, model=paths.SFT, table=DATA)


if __name__ == "__main__":
    run_stage("sft", body)
