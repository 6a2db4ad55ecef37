"""Pre-training of a small causal language model from scratch on packed text.

Loss: mean over tokens of −log p(x_t | x_<t). Matrices inside the blocks are optimised with Muon (Jordan et al. 2024,
orthogonalised momentum), embeddings and norms with AdamW; the learning rate warms up, stays, and decays linearly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tasks.rlhf.precision import autocast

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}<|assistant|>{% generation %}{{ message['content'] | trim }}<|end|>"
    "{% endgeneration %}{% else %}<|{{ message['role'] }}|>{{ message['content'] | trim }}<|end|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL_TOKENS = ("<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>")


@dataclass(frozen=True)
class PretrainConfig:
    """Size of the model and length of the training; defaults are those of the shipped model."""

    vocab_size: int = 4096
    hidden_size: int = 256
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    intermediate_size: int = 768
    context: int = 512
    batch: int = 8
    steps: int = 1600
    warmup: int = 40
    decay_share: float = 0.5
    muon_lr: float = 0.02
    adam_lr: float = 3e-3
    weight_decay: float = 0.1
    seed: int = 17


def train_tokenizer(texts: Iterator[str], vocab_size: int):  # type: ignore[no-untyped-def]
    """Byte-level BPE with the project's chat template; PAD and EOS are different tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=list(SPECIAL_TOKENS[2:]),
        chat_template=CHAT_TEMPLATE,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def build_model(config: PretrainConfig, pad_token_id: int, eos_token_id: int) -> PreTrainedModel:
    """Randomly initialised Qwen2-type decoder with tied embeddings."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            pad_token_id=pad_token_id,
            eos_token_id=eos_token_id,
            bos_token_id=None,
            attn_implementation="eager",  # a third faster than SDPA on a CPU at this size
        )
    )


def packed_batches(tokens: torch.Tensor, config: PretrainConfig) -> Iterator[torch.Tensor]:
    """Batches (batch, context + 1) of token ids without end: each epoch starts at a new offset, in a new order."""
    generator = torch.Generator().manual_seed(config.seed)
    while True:
        offset = int(torch.randint(0, config.context, (1,), generator=generator))
        starts = torch.arange(offset, len(tokens) - config.context - 1, config.context)
        order = starts[torch.randperm(len(starts), generator=generator)]
        for at in range(0, len(order) - config.batch + 1, config.batch):
            yield torch.stack([tokens[s : s + config.context + 1] for s in order[at : at + config.batch]])


def learning_rate_factor(step: int, config: PretrainConfig) -> float:
    """Warm-up, plateau, linear decay to zero over the last `decay_share` of the steps."""
    decay_from = config.steps * (1 - config.decay_share)
    if step < config.warmup:
        return (step + 1) / config.warmup
    return min(1.0, (config.steps - step) / (config.steps - decay_from))


def make_optimizers(model: PreTrainedModel, config: PretrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the blocks' matrices, AdamW for everything else."""
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(
            matrices, lr=config.muon_lr, weight_decay=config.weight_decay, momentum=0.95, adjust_lr_fn="original"
        ),
        torch.optim.AdamW(rest, lr=config.adam_lr, betas=(0.9, 0.95), weight_decay=0.0, eps=1e-8),
    ]


def token_loss(model: PreTrainedModel, batch: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats per token; batch is (B, T + 1)."""
    logits = model(input_ids=batch[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())


@torch.no_grad()
def held_out_loss(model: PreTrainedModel, tokens: torch.Tensor, config: PretrainConfig) -> float:
    """Mean nats per token over consecutive windows of `tokens`."""
    model.train(False)
    windows = tokens[: (len(tokens) - 1) // config.context * config.context + 1]
    rows = [windows[s : s + config.context + 1] for s in range(0, len(windows) - 1, config.context)]
    losses = [
        token_loss(model, torch.stack(rows[i : i + 16])).item() * len(rows[i : i + 16]) for i in range(0, len(rows), 16)
    ]
    model.train()
    return sum(losses) / len(rows)


def pretrain(
    model: PreTrainedModel,
    tokens: torch.Tensor,
    config: PretrainConfig,
    on_step: Callable[[int, float], None],
) -> None:
    """Train `model` in place for `config.steps` steps in bf16 where the device has it; `on_step(step, loss)` follows each."""
    optimizers = make_optimizers(model, config)
    base_lrs = [group["lr"] for o in optimizers for group in o.param_groups]
    batches = packed_batches(tokens, config)
    model.train()
    for step in range(config.steps):
        factor = learning_rate_factor(step, config)
        for group, lr in zip((g for o in optimizers for g in o.param_groups), base_lrs, strict=True):
            group["lr"] = lr * factor
        with autocast("auto", tokens.device):
            loss = token_loss(model, next(batches))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in optimizers:
            o.step()
            o.zero_grad(set_to_none=True)
        on_step(step, loss.item())
