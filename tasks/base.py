"""Stage `base`: the base model, brought into one form and fingerprinted: weights, tokenizer, chat template."""

from pathlib import Path
from typing import Any

from governance.digest import canonical_json, sha256_bytes, sha256_path, write_json
from governance.errors import BadInput, MissingComponent
from tasks import params, paths
from tasks.context_length import context_of
from tasks.progress import bar
from tasks.stage import Stage, run_stage

WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def body(stage: Stage) -> None:
    """Write `data/models/base`."""
    settings = stage.params.base
    check_named(settings.model)
    source = _source(settings)
    if Path(settings.model).is_dir():
        stage.input_table(Path(settings.model), "base model")
    from tasks.rlhf.models import DEFAULT_CHAT_TEMPLATE, save_model, set_pad_token

    progress = bar(3, "base", "step")
    tokenizer, model = _load(source, settings)
    progress.update()
    _refuse_wordless(tokenizer, settings.model)
    stage.params.check_context(context_of(model.config.to_dict()))
    _refuse_encoder(model, settings.model)
    _refuse_unpackable(model, settings.model)
    if (tokenizer.eos_token_id or 0) >= len(model.get_input_embeddings().weight) or tokenizer.eos_token_id is None:
        raise BadInput(
            f"base.model: {settings.model}: its tokenizer has no EOS token that the model knows; set eos_token in "
            "tokenizer_config.json."
        )
    stage.notes["pad_token"] = set_pad_token(model, tokenizer, _pad_token(tokenizer, settings)) or "the model's own"
    largest, rows = max(tokenizer.get_vocab().values()), len(model.get_input_embeddings().weight)
    if largest >= rows:
        raise BadInput(
            f"base.model: {settings.model}: its tokenizer gives numbers up to {largest}, and the model has embeddings for "
            f"{rows} tokens; name the tokenizer and the weights of one model."
        )
    stage.notes["chat_template"] = "the model's own" if tokenizer.chat_template else "the project's default"
    tokenizer.chat_template = tokenizer.chat_template or DEFAULT_CHAT_TEMPLATE
    save_model(model, tokenizer, paths.BASE)
    progress.update()

    fingerprint = _fingerprint(paths.BASE, tokenizer.chat_template)
    local = Path(settings.model).is_dir()
    # the hub's copy lies in a folder named by the commit; a name, or a branch, says not which weights
    named = {"source": _public_name(settings.model), "revision": settings.revision if local else source.name}
    write_json(paths.BASE / "lineage.json", {"base_sha256": fingerprint["base_sha256"], **named})
    write_json(stage.report / "fingerprint.json", fingerprint)
    stage.notes["fingerprint"] = fingerprint
    stage.output_model(paths.BASE, {k: v for k, v in (fingerprint | named).items() if v})
    progress.update()
    progress.close()
    parameters = sum(p.numel() for p in model.parameters())
    stage.log_metrics({"parameters": float(parameters)}, model=paths.BASE)


def check_named(model: str) -> None:
    """Raises BadInput if `model` is neither a folder with a model in it nor a hub name."""
    if Path(model).is_dir():
        return _check(Path(model), model)
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(model)
    except HFValidationError:
        raise BadInput(
            f"base.model: {model}: there is no such folder, and it is not a hub name (owner/name)."
        ) from None


def _pad_token(tokenizer: Any, settings: params.Base) -> str:
    """What pads: `base.pad_token`, or the tokenizer's own PAD; raises BadInput if that is none, or EOS, which training would
    mask out of the loss like padding."""
    pad = settings.pad_token or tokenizer.pad_token
    if pad in (None, tokenizer.eos_token):
        what = "its tokenizer has no padding token" if pad is None else f"{pad} is both EOS and padding"
        raise BadInput(
            f"base.model: {settings.model}: {what}; set base.pad_token to a token of the vocabulary that no text uses, or to a "
            "new one, such as <|pad|>, for which the model gets an embedding."
        )
    return str(pad)


def _refuse_wordless(tokenizer: Any, name: str) -> None:
    """Raises BadInput if text becomes nothing but special tokens: where the tokenizer's files are missing, transformers gives
    an empty one of the architecture's class."""
    tokens = tokenizer("What is green tea?", add_special_tokens=False)["input_ids"]
    if not set(tokens) - set(tokenizer.all_special_ids):
        raise BadInput(
            f"base.model: {name}: has no tokenizer, or one without words; put tokenizer.json and tokenizer_config.json beside the "
            "weights."
        )


def _refuse_encoder(model: Any, name: str) -> None:
    """Raises BadInput if what a token sees is not what comes before it alone, as in BERT: such a model generates nothing."""
    import torch

    rows = torch.tensor([[5, 6, 7], [5, 6, 8]], device=next(model.parameters()).device)
    with torch.no_grad():
        logits = model(input_ids=rows).logits[:, :2].float()
    if (logits[0] - logits[1]).abs().max() > 1e-4 * logits.abs().max():
        raise BadInput(
            f"base.model: {name}: is an encoder ({model.config.model_type}), whose tokens see what comes after them; name a "
            "causal (decoder) language model."
        )


def _refuse_unpackable(model: Any, name: str) -> None:
    """Raises BadInput if rows cannot share tokens, as training and evaluation have them do: if tokens meet elsewhere than in
    an attention that transformers lets be replaced, or logits are more than a product with the output embeddings."""
    from tasks.rlhf.packing import CannotPack, check_packing

    try:
        check_packing(model, [[5, 6, 7, 8], [9], [8, 7, 6]])
    except CannotPack as error:
        raise BadInput(
            f"base.model: {name} ({model.config.model_type}): answers cannot share their prompt in it, as training and "
            f"evaluation need ({error}); name another, such as Llama, Qwen, Mistral, Gemma or GPT-2."
        ) from None


def _source(settings: params.Base) -> Path:
    """Local folder with the model's files, downloaded from the hub and looked at if `model` is a hub name."""
    folder = Path(settings.model)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"base.model: {settings.model}"
    try:
        downloaded = Path(snapshot_download(settings.model, revision=settings.revision, allow_patterns=WANTED))
    except RevisionNotFoundError:
        raise BadInput(f"{where}: has no revision {settings.revision}; correct base.revision.") from None
    except RepositoryNotFoundError:
        raise BadInput(
            f"{where}: is no folder here and no model on the hub that you may read; check the name, "
            "or log in with `hf auth login`."
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError):
        raise MissingComponent(
            f"{where}: is no folder here, and the hub cannot be reached; check the name and the network, or give the "
            "folder of a copy."
        ) from None
    _check(downloaded, settings.model)
    return downloaded


def _check(folder: Path, name: str) -> None:
    if not (folder / "config.json").is_file():
        raise BadInput(f"base.model: {name}: has no config.json; name a Hugging Face model folder.")
    if not list(folder.glob("*.safetensors")):
        pickled = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLED)
        why = f"only {pickled[0]}, which would have to be unpickled" if pickled else "no weights"
        raise BadInput(f"base.model: {name}: holds {why}; convert the weights to safetensors.")


def _load(source: Path, settings: params.Base) -> tuple[Any, Any]:
    """(tokenizer, model). transformers says what it cannot read by exceptions of these kinds."""
    from safetensors import SafetensorError

    from tasks.rlhf.models import load_causal_lm, load_tokenizer

    trust = settings.trust_remote_code
    try:
        return load_tokenizer(source, trust_remote_code=trust), load_causal_lm(source, trust_remote_code=trust)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(
            f"base.model: {settings.model}: cannot be loaded as a causal language model with its tokenizer ({reason}); "
            "name a complete Hugging Face model folder."
        ) from None


def _public_name(model: str) -> str:
    """As in params.yaml; of a path outside the project its last part alone."""
    inside = not Path(model).is_dir() or Path(model).resolve().is_relative_to(Path.cwd())
    return model if inside and not Path(model).is_absolute() else Path(model).name


def _fingerprint(folder: Path, chat_template: str) -> dict[str, str]:
    def digest(*patterns: str) -> str:
        files = sorted(p for pattern in patterns for p in folder.glob(pattern))
        return sha256_bytes(canonical_json({p.name: sha256_path(p) for p in files}))

    return {
        "base_sha256": sha256_path(folder),
        "weights_sha256": digest("*.safetensors", "*.safetensors.index.json"),
        "tokenizer_sha256": digest("*token*", "vocab.*", "merges.txt", "*.model"),
        "chat_template_sha256": sha256_bytes(chat_template.encode()),
    }


if __name__ == "__main__":
    run_stage("base", body)
