"""Models and tokenizers on the disk: Hugging Face folders of safetensors, read in fp32, never unpickled."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from transformers.utils import logging

from tasks.rlhf.processes import accelerate_state, on_cpu

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logging.disable_progress_bar()  # a bar for every file read or written hides those of the training

GENERIC_TOKENIZERS = ("TokenizersBackend", "PreTrainedTokenizerFast")

# For tokenizers that come without a template of their own. It needs no token that the vocabulary may lack, and a turn
# ends with EOS, so that a trained answer knows where to stop.
DEFAULT_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] | trim }}{{ eos_token }}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


class LoraSettings(Protocol):
    """`lora` of params.yaml."""

    rank: int
    alpha: int
    dropout: float


def _attention() -> str:
    """On a CPU the plain kernel is a quarter faster than SDPA at the lengths used here."""
    return "eager" if on_cpu() else "sdpa"


def _placed(model: Any) -> Any:
    """The model on the device that accelerate's configuration names: a GPU if there is one."""
    return model.to(accelerate_state().device)


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Tokenizer of a model folder, as its tokenizer.json says.

    AutoTokenizer takes the class that belongs to the architecture, for some architectures (Qwen2) even where the folder
    names the generic one: it would split the text by another rule than the tokenizer was trained with.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    file = folder / "tokenizer_config.json"
    named = json.loads(file.read_text(encoding="utf-8")).get("tokenizer_class") if file.is_file() else None
    if named in GENERIC_TOKENIZERS:
        return PreTrainedTokenizerFast.from_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)


def load_causal_lm(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """Causal language model in fp32, dropout off. Raises ValueError if the file lacks weights of the architecture."""
    from transformers import AutoModelForCausalLM

    model, found = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation=_attention(),
        use_safetensors=True,
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
    )
    refuse_lacking(found["missing_keys"])
    return _placed(_without_dropout(model))


def load_reward_model(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """Reward model that `save_model` wrote: sequence classification, fp32, dropout off. Several heads become the one that
    gives their weighted sum; where another rule combines them (`tasks.rlhf.welfare`), what scores with the model applies it.

    Raises ValueError if the file lacks weights, such as those of the head.
    """
    model = _load_heads(folder, trust_remote_code)
    return model if getattr(model.config, "head_rule", None) else _summed(model)


def load_value_model(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """The reward model with one head, the weighted sum of its own, whatever the rule: where a value function begins."""
    return _summed(load_reward_heads(folder, trust_remote_code=trust_remote_code))


def load_reward_heads(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """The reward model with its heads apart, in the order of `reward.criteria`."""
    model = _load_heads(folder, trust_remote_code)
    model.config.head_rule = None
    return model


def _load_heads(folder: Path, trust_remote_code: bool) -> Any:
    weights = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("head_weights", [1.0])
    model, lacking = classifier(folder, trust_remote_code, len(weights))
    refuse_lacking(lacking)
    return model


def declare_heads(model: PreTrainedModel, criteria: Mapping[str, float]) -> None:
    """Write the names of the heads, and their weights in the score, into the configuration that is saved."""
    model.config.id2label = dict(enumerate(criteria))
    model.config.label2id = {name: k for k, name in enumerate(criteria)}
    model.config.head_weights = list(criteria.values())


def _summed(model: Any) -> Any:
    """Σ_c w_c (h_c·x − o_c) of heads h_c with offsets o_c is one head, Σ_c w_c h_c, with the offset Σ_c w_c o_c."""
    weights = getattr(model.config, "head_weights", None)
    if weights is not None:
        w, heads = torch.tensor(weights, dtype=torch.float64), model.score.weight
        head = torch.nn.Linear(heads.shape[1], 1, bias=False, device=heads.device)
        head.weight.data.copy_((w.to(heads.device) @ heads.double())[None])
        model.score, model.num_labels, model.config.num_labels = head, 1, 1
        model.config.reward_offset = float(w @ torch.tensor(model.config.reward_offset, dtype=torch.float64))
        if effect := getattr(model.config, "length_effect", None):
            slope = float(w @ torch.tensor(effect["slope"], dtype=torch.float64))
            model.config.length_effect = {"slope": [slope], "centre": effect["centre"]}
        del model.config.head_weights
    return model


def classifier(
    folder: Path, trust_remote_code: bool, heads: int, kind: str = "AutoModelForSequenceClassification"
) -> tuple[Any, set[str]]:
    """(model with so many outputs, names of the weights that the file lacks); `kind`: transformers' class."""
    import transformers

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # says of a new head that it is new
    model, found = getattr(transformers, kind).from_pretrained(
        folder,
        num_labels=heads,
        dtype=torch.float32,
        attn_implementation=_attention(),
        use_safetensors=True,
        trust_remote_code=trust_remote_code,
        output_loading_info=True,
    )
    logging.set_verbosity(level)
    return _placed(_without_dropout(model)), set(found["missing_keys"])


def refuse_lacking(names: set[str]) -> None:
    """Raises ValueError if a file lacks these weights."""
    if names:  # transformers would draw them at random
        raise ValueError(f"the safetensors lack {min(names)} and {len(names) - 1} more of the model's weights")


def new_reward_model(
    folder: Path, pad_token_id: int, seed: int, *, heads: int = 1, trust_remote_code: bool = False
) -> PreTrainedModel:
    """Reward model on the trunk of a causal LM; the heads' weights ~ N(0, 1/(d+1)) (Stiennon et al. 2020)."""
    model, lacking = classifier(folder, trust_remote_code, heads)
    refuse_lacking(lacking - {"score.weight"})
    model.config.pad_token_id = pad_token_id
    draw_head(model.score, seed)
    return model


def draw_head(layer: Any, seed: int) -> None:
    """Weights ~ N(0, 1/(d+1)), drawn on the CPU: the same on every device; a bias, if there is one, of 0."""
    generator, weight = torch.Generator().manual_seed(seed), layer.weight
    std = 1 / math.sqrt(weight.shape[1] + 1)
    weight.data.copy_(torch.randn(weight.shape, generator=generator) * std)
    if layer.bias is not None:
        torch.nn.init.zeros_(layer.bias)


def set_pad_token(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pad_token: str) -> str | None:
    """Have tokenizer and model pad with `pad_token`, which gets a row of the embedding if the vocabulary lacks it; says what
    was done, None if they did before."""
    done = None
    if pad_token != tokenizer.pad_token:
        rows = model.get_input_embeddings().weight.shape[0]
        new = tokenizer.add_special_tokens({"pad_token": pad_token})
        done = f"{pad_token}, " + ("added in a spare row of the embedding" if new else "of the vocabulary")
        if tokenizer.pad_token_id >= rows:
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
            for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
                layer.weight.data[rows:] = layer.weight.data[:rows].mean(0)
            done = f"{pad_token}, added with a row of the embedding, the mean of the others"
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return done


def _without_dropout(model: Any) -> Any:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for name in ("attention_dropout", "hidden_dropout", "attn_pdrop", "resid_pdrop", "embd_pdrop", "dropout"):
        if hasattr(model.config, name):
            setattr(model.config, name, 0.0)
    return model


def pad_right(rows: list[list[int]], pad_token_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), each (B, longest row)."""
    width = max(len(r) for r in rows)
    ids = torch.full((len(rows), width), pad_token_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return ids, mask


def with_lora(model: PreTrainedModel, settings: LoraSettings, task: str, seed: int) -> Any:
    """The model with low-rank adapters on every linear layer (Hu et al. 2021); `task`: CAUSAL_LM, SEQ_CLS or
    TOKEN_CLS, whose heads are trained as they are.

    Adapters begin at random, by `seed`; the global generator is left as it was.
    """
    from peft import LoraConfig, get_peft_model

    heads = ["classifier", "score"] if task == "TOKEN_CLS" else None  # the other tasks' heads peft leaves out itself
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        exclude_modules=heads,
        task_type=task,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def merged(model: Any) -> PreTrainedModel:
    """The model itself, with adapters merged into its weights if it has any."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write model and tokenizer to a temporary folder beside `folder`, then rename it."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # of a full disk
