import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertLMHeadModel, MambaConfig, MambaForCausalLM

from governance.digest import sha256_path
from governance.errors import BadInput, MissingComponent
from tasks.rlhf.models import load_causal_lm, load_tokenizer
from tests.conftest import run_stage_in


def test_folder_is_whole_and_fingerprinted(trained_project: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    base = trained_project / "data/models/base"
    names = {p.name for p in base.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "lineage.json"} <= names
    given, kept = (load_file(f / "model.safetensors") for f in (tiny_model_folder, base))
    assert all(bool((given[k] == v).all()) for k, v in kept.items())

    lineage = json.loads((base / "lineage.json").read_text())
    bare = shutil.copytree(base, tmp_path / "base")
    (bare / "lineage.json").unlink()
    # The folder given lies outside the project: only its name is told.
    assert lineage == {"base_sha256": sha256_path(bare), "source": tiny_model_folder.name, "revision": None}
    fingerprint = json.loads((trained_project / "data/reports/base/fingerprint.json").read_text())
    assert fingerprint["base_sha256"] == lineage["base_sha256"]
    record = json.loads((trained_project / "data/reports/base/record.json").read_text())
    assert record["notes"]["fingerprint"] == fingerprint
    assert record["outputs"]["data/models/base"] == sha256_path(base)
    assert str(tiny_model_folder.parent) not in "".join(p.read_text() for p in base.glob("*.json"))


def test_fingerprint_tells_what_changed(trained_project: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    project = _fresh(trained_project, tmp_path)
    model = shutil.copytree(tiny_model_folder, project / "models/mine")
    (model / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}")
    run_stage_in(project, "base", base={"model": "models/mine"})
    old, new = (json.loads((p / "data/reports/base/fingerprint.json").read_text()) for p in (trained_project, project))
    assert {k for k in old if old[k] != new[k]} == {"base_sha256", "chat_template_sha256"}
    assert json.loads((project / "data/models/base/lineage.json").read_text())["source"] == "models/mine"


def test_what_a_model_lacks_is_given_and_said(trained_project: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    project = _fresh(trained_project, tmp_path)
    model = shutil.copytree(tiny_model_folder, project / "models/bare")
    (model / "chat_template.jinja").unlink()
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": config["eos_token"]}))
    record = run_stage_in(project, "base", base={"model": "models/bare", "pad_token": "<|pad|>"})
    assert record["notes"]["chat_template"] == "the project's default"
    assert "<|pad|>" in record["notes"]["pad_token"]
    base = project / "data/models/base"
    tokenizer = load_tokenizer(base)
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert load_causal_lm(base).config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)


def _fresh(trained: Path, to: Path) -> Path:
    """A project folder with the other's parameters and state, and nothing made yet."""
    shutil.copy(trained / "params.yaml", to)
    shutil.copytree(trained / ".attestrl", to / ".attestrl")
    return to


def test_refusals_are_sentences_and_write_no_model(
    trained_project: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    project = _fresh(trained_project, tmp_path)

    def copy(name: str) -> Path:
        return shutil.copytree(tiny_model_folder, project / "models" / name)

    def refused(name: str, error: type[Exception], says: str) -> None:
        with pytest.raises(error, match=says):
            run_stage_in(project, "base", base={"model": name})

    pickled = copy("pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    refused("models/pickled", BadInput, r"pytorch_model.bin.*unpickled.*safetensors")

    config = copy("endless") / "tokenizer_config.json"
    config.write_text(json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "eos_token"}))
    refused("models/endless", BadInput, "no EOS token")

    config = copy("unpadded") / "tokenizer_config.json"
    own = json.loads(config.read_text())
    config.write_text(json.dumps({k: v for k, v in own.items() if k != "pad_token"}))
    refused("models/unpadded", BadInput, "no padding token; set base.pad_token")
    config.write_text(json.dumps(own | {"pad_token": own["eos_token"]}))
    refused("models/unpadded", BadInput, "is both EOS and padding; set base.pad_token")

    for file in copy("wordless").glob("tokenizer*"):
        file.unlink()
    refused("models/wordless", BadInput, "models/wordless: has no tokenizer, or one without words")

    torn = copy("torn") / "model.safetensors"
    torn.write_bytes(torn.read_bytes()[:1000])
    refused("models/torn", BadInput, "cannot be loaded")

    (copy("other") / "config.json").write_text('{"model_type": "no-such-model"}')
    refused("models/other", BadInput, "cannot be loaded")

    holed = copy("holed") / "model.safetensors"
    weights = load_file(holed)
    first = next(k for k in weights if "mlp" in k)
    save_file({k: v for k, v in weights.items() if k != first}, holed, metadata={"format": "pt"})
    refused("models/holed", BadInput, f"lack {first}")

    short = copy("short") / "config.json"
    short.write_text(json.dumps(json.loads(short.read_text()) | {"max_position_embeddings": 100}))
    refused("models/short", BadInput, "^ppo.max_prompt_tokens.*304 tokens.*context of 100; lower it")

    bert = copy("bert")
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertLMHeadModel(BertConfig(vocab_size=512, **shape)).save_pretrained(bert)
    refused("models/bert", BadInput, "is an encoder .bert.*causal")

    state = copy("state")
    MambaForCausalLM(MambaConfig(vocab_size=512, hidden_size=16, num_hidden_layers=1, state_size=4)).save_pretrained(
        state
    )
    refused("models/state", BadInput, "mamba.*cannot share their prompt")

    narrow = copy("narrow")
    narrowed = json.loads((narrow / "config.json").read_text()) | {"vocab_size": 400}
    (narrow / "config.json").write_text(json.dumps(narrowed))
    cut = {k: v[:400].contiguous() if v.shape[0] == 512 else v for k, v in weights.items()}
    save_file(cut, narrow / "model.safetensors", metadata={"format": "pt"})
    refused("models/narrow", BadInput, "numbers up to 511.*embeddings for 400 tokens")

    (project / "models/empty").mkdir()
    refused("models/empty", BadInput, "no config.json")
    refused("not/a/folder", BadInput, "no such folder")
    refused("nobody/none-such-model", MissingComponent, "nobody/none-such-model.*network")  # offline
    assert not (project / "data/models").exists()
