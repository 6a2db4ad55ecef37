"""Stage `base`: the base model, brought into one form and fingerprinted: weights, tokenizer, chat template."""

from pathlib import Path

from governance.digest import sha256_bytes, sha256_path, write_json
from governance.errors import BadInput, MissingComponent
from tasks import params, paths
from tasks.stage import Stage, run_stage

WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja", "README.md", "LICENSE*"]
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def body(stage: Stage) -> None:
    """Write `data/models/base`."""
    settings = stage.params.base
    source = _source(settings)
    _check(source, settings.model)
    if Path(settings.model).is_dir():
        stage.input_table(Path(settings.model), "base model")
    from tasks.rlhf.models import DEFAULT_CHAT_TEMPLATE, load_causal_lm, load_tokenizer, save_model

    tokenizer = load_tokenizer(source, trust_remote_code=settings.trust_remote_code)
    if tokenizer.eos_token_id is None:
        raise BadInput(f"{settings.model}: its tokenizer has no EOS token; set eos_token in tokenizer_config.json.")
    model = load_causal_lm(source, trust_remote_code=settings.trust_remote_code)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        # PAD must differ from EOS, or the end of an answer would be masked out of the loss like padding.
        tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
        if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
            model.resize_token_embeddings(len(tokenizer))
        stage.notes["pad_token"] = "added"
    model.config.pad_token_id = tokenizer.pad_token_id
    if not tokenizer.chat_template:
        tokenizer.chat_template = DEFAULT_CHAT_TEMPLATE
        stage.notes["chat_template"] = "default"
    save_model(model, tokenizer, paths.BASE)
    fingerprint = _fingerprint(paths.BASE, tokenizer.chat_template)
    lineage = {
        "base_sha256": fingerprint["base_sha256"],
        "source": Path(settings.model).name if Path(settings.model).is_absolute() else settings.model,
        "revision": settings.revision,
    }
    write_json(paths.BASE / "lineage.json", lineage)
    write_json(stage.report / "fingerprint.json", fingerprint)
    stage.notes["fingerprint"] = fingerprint
    stage.output_model(paths.BASE, {"base_sha256": fingerprint["base_sha256"], "source": lineage["source"] or ""})
    parameters = sum(p.numel() for p in model.parameters())
    stage.log_metrics({"parameters": float(parameters)}, model=paths.BASE)


def _source(settings: params.Base) -> Path:
    """Local folder with the model's files, downloaded from the hub if `model` is a hub name."""
    folder = Path(settings.model)
    if folder.is_dir():
        return folder
    if folder.is_absolute() or settings.model.count("/") != 1:
        raise BadInput(f"base.model: {settings.model}: there is no such folder, and it is not a hub name (owner/name).")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(settings.model, revision=settings.revision, allow_patterns=WANTED))
    except RepositoryNotFoundError:
        raise BadInput(f"base.model: {settings.model}: the hub has no such model; check the name.") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise MissingComponent(
            f"base.model: {settings.model}: is neither a folder here nor to be had from the hub; check the network."
        ) from None


def _check(folder: Path, name: str) -> None:
    if not (folder / "config.json").is_file():
        raise BadInput(f"base.model: {name}: has no config.json; name a Hugging Face model folder.")
    if not list(folder.glob("*.safetensors")):
        pickled = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLED)
        why = f"only {pickled[0]}, which would have to be unpickled" if pickled else "no weights"
        raise BadInput(f"base.model: {name}: holds {why}; convert the weights to safetensors.")


def _fingerprint(folder: Path, chat_template: str) -> dict[str, str]:
    weights = {p.name: sha256_path(p) for p in sorted(folder.glob("*.safetensors"))}
    tokenizer = {p.name: sha256_path(p) for p in sorted(folder.iterdir()) if "token" in p.name or p.suffix == ".txt"}
    return {
        "base_sha256": sha256_path(folder),
        "weights_sha256": sha256_bytes(repr(weights).encode()),
        "tokenizer_sha256": sha256_bytes(repr(tokenizer).encode()),
        "chat_template_sha256": sha256_bytes(chat_template.encode()),
    }


if __name__ == "__main__":
    run_stage("base", body)
