import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from tasks.rlhf.branches import answer_scores
from tasks.rlhf.encoding import stop_token_id
from tasks.rlhf.models import (
    DEFAULT_CHAT_TEMPLATE,
    load_causal_lm,
    load_reward_model,
    load_tokenizer,
    merged,
    new_reward_model,
    pad_right,
    save_model,
    set_pad_token,
    with_lora,
)
from tests.conftest import needs_namespaces, on_small_disk

ROWS = [[7, 8, 9, 1], [20, 21, 22, 23, 24, 25, 1], [30, 1]]
LORA = SimpleNamespace(rank=4, alpha=8, dropout=0.0)


@pytest.fixture
def reward_model(tiny_model_folder: Path) -> Any:
    return new_reward_model(tiny_model_folder, 0, seed=3)


def test_new_head_is_drawn_by_seed_on_the_trunk_of_the_language_model(tiny_model_folder: Path) -> None:
    heads = torch.cat([new_reward_model(tiny_model_folder, 0, seed=s).score.weight.data for s in range(20)])
    assert not torch.equal(heads[0], heads[1])
    again = new_reward_model(tiny_model_folder, 0, seed=1)
    assert torch.equal(again.score.weight.data[0], heads[1])
    drawn = torch.randn(heads[:1].shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(heads[1:2], drawn * (heads.shape[1] + 1) ** -0.5)
    trunk = load_causal_lm(tiny_model_folder).base_model.state_dict()
    assert all(torch.equal(v, trunk[k]) for k, v in again.base_model.state_dict().items())


def test_dropout_is_off_while_training(tmp_path: Path) -> None:
    """GPT-2 drops embeddings, attention and what its blocks add: a tenth of each."""
    GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=32, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    ids = torch.arange(20)[None]
    for model in (load_causal_lm(tmp_path), new_reward_model(tmp_path, 0, seed=0)):
        model.train()
        assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_a_language_model_is_not_taken_for_a_reward_model(tiny_model_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"lack score\.weight"):
        load_reward_model(tiny_model_folder)


def test_score_is_read_at_the_last_real_token_as_transformers_reads_it(reward_model: Any) -> None:
    ids, mask = pad_right(ROWS, 0)
    theirs = reward_model(input_ids=ids, attention_mask=mask).logits.squeeze(-1)
    torch.testing.assert_close(answer_scores(reward_model, ROWS, None), theirs, rtol=1e-4, atol=1e-5)


def test_offset_is_subtracted_and_saved(reward_model: Any, tiny_model_folder: Path, tmp_path: Path) -> None:
    before = answer_scores(reward_model, ROWS, None)
    reward_model.config.reward_offset = 1.25
    save_model(reward_model, load_tokenizer(tiny_model_folder), tmp_path / "reward")
    after = answer_scores(load_reward_model(tmp_path / "reward"), ROWS, None)
    torch.testing.assert_close(after, before - 1.25)


def test_saving_replaces_the_folder_whole(reward_model: Any, tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "stale.bin").write_bytes(b"x")
    save_model(reward_model, load_tokenizer(tiny_model_folder), folder)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    names = {p.name for p in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names
    assert "stale.bin" not in names


@pytest.mark.parametrize("spare_rows", [0, 8])
def test_pad_token_apart_from_eos(tiny_model_folder: Path, tmp_path: Path, spare_rows: int) -> None:
    """As models from the hub often come: PAD is EOS, and the embedding may have rows that no token uses."""
    model, tokenizer = load_causal_lm(tiny_model_folder), load_tokenizer(_renamed_pad(tiny_model_folder, tmp_path))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    rows = len(tokenizer) + spare_rows
    model.resize_token_embeddings(rows, mean_resizing=False)
    before = model.get_input_embeddings().weight.data.clone()
    assert set_pad_token(model, tokenizer, "<|pad|>")
    pad = tokenizer.pad_token_id
    assert pad == model.config.pad_token_id == model.generation_config.pad_token_id != tokenizer.eos_token_id
    after = model.get_input_embeddings().weight.data
    assert torch.equal(after[:rows], before)
    if spare_rows:
        assert len(after) == rows > pad
    else:
        torch.testing.assert_close(after[pad], before.mean(0))
    assert set_pad_token(model, tokenizer, "<|pad|>") is None
    assert set_pad_token(model, tokenizer, "<|unused|>") == "<|unused|>, of the vocabulary"
    assert tokenizer.pad_token_id == model.config.pad_token_id == tokenizer.convert_tokens_to_ids("<|unused|>") != pad
    assert len(model.get_input_embeddings().weight) == len(after)


def _renamed_pad(folder: Path, to: Path) -> Path:
    """A copy whose tokenizer has no <|pad|>: token 0 is called something else and PAD is EOS."""
    copy = shutil.copytree(folder, to / "copy")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        text = (copy / name).read_text(encoding="utf-8")
        text = text.replace('"pad_token": "<|pad|>"', '"pad_token": "<|end|>"').replace("<|pad|>", "<|unused|>")
        (copy / name).write_text(text, encoding="utf-8")
    return copy


def test_tokenizer_splits_as_it_was_trained(tiny_model_folder: Path, tmp_path: Path) -> None:
    """Qwen2's own class would cut numbers into digits, and add a token that has no embedding."""
    trained = Tokenizer.from_file(str(tiny_model_folder / "tokenizer.json"))
    text = "In 1990 it was $15,000,\n\nI'd say 1234567890."
    tokenizer = load_tokenizer(tiny_model_folder)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == trained.encode(text).ids
    assert len(tokenizer) == load_causal_lm(tiny_model_folder).get_input_embeddings().weight.shape[0]
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path)(text)["input_ids"] == tokenizer(text)["input_ids"]


def test_default_template_ends_a_turn_with_eos(tiny_model_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_model_folder)
    tokenizer.chat_template = DEFAULT_CHAT_TEMPLATE
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert tokenizer.apply_chat_template(turns, tokenize=False) == "user: Hi<|end|>\nassistant: Hello<|end|>\n"
    opened = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert opened == "user: Hi<|end|>\nassistant: "
    assert stop_token_id(tokenizer) == tokenizer.eos_token_id


@pytest.mark.parametrize("task", ["CAUSAL_LM", "SEQ_CLS"])
def test_lora_trains_adapters_and_merges_into_plain_weights(
    tiny_model_folder: Path, tmp_path: Path, reward_model: Any, task: str
) -> None:
    model = with_lora(load_causal_lm(tiny_model_folder) if task == "CAUSAL_LM" else reward_model, LORA, task, 7)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in n or "score" in n for n in trained)
    assert any("score" in n for n in trained) == (task == "SEQ_CLS")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in trained:
                parameter.add_(0.05)
    ids = torch.tensor([ROWS[1]])
    expected = model(input_ids=ids).logits
    plain = merged(model)
    torch.testing.assert_close(plain(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4)
    save_model(plain, load_tokenizer(tiny_model_folder), tmp_path / "merged")
    names = load_file(tmp_path / "merged/model.safetensors")
    assert not [n for n in names if "lora" in n or "base_layer" in n or "original" in n]
    load = load_causal_lm if task == "CAUSAL_LM" else load_reward_model
    torch.testing.assert_close(load(tmp_path / "merged")(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4)


def test_adapters_begin_by_the_seed(tiny_model_folder: Path) -> None:
    """Whatever was drawn before; and what is drawn after is not changed."""

    def adapters(seed: int, drawn: int) -> torch.Tensor:
        torch.manual_seed(drawn)
        model = with_lora(load_causal_lm(tiny_model_folder), LORA, "CAUSAL_LM", seed)
        return torch.cat([p.detach().flatten() for n, p in model.named_parameters() if "lora_A" in n])

    assert torch.equal(adapters(7, 1), adapters(7, 2))
    assert not torch.equal(adapters(7, 1), adapters(8, 1))


@needs_namespaces
def test_a_disk_that_fills_up_leaves_no_half_of_a_model(tiny_model_folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tasks.rlhf.models import *\n"
        "given = Path(sys.argv[1]); save_model(load_causal_lm(given), load_tokenizer(given), Path('small/base'))\n"
    )
    done = on_small_disk("64k", '"$@" || true; find small', code, str(tiny_model_folder), cwd=tmp_path)
    assert "No space left on device" in done.stderr
    assert done.stdout.split() == ["small"]
