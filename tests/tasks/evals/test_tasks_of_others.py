"""Tasks of lm-evaluation-harness and Inspect through their own interfaces, on tiny real models."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from governance.errors import MissingComponent
from tasks.evals import harness_tasks, inspect_tasks, multiple_choice, suite
from tasks.evals.bench import GREEDY
from tests.tasks.evals.conftest import RAW, bench_of

pytestmark = pytest.mark.xdist_group("evals")
QUESTIONS = RAW / "evals/logical_deduction/questions.jsonl"
HARNESS = f"""
task: deduction
dataset_path: json
dataset_kwargs: {{data_files: {{test: {QUESTIONS}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
metric_list:
- {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
INSPECT = """
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

@task
def letters():
    words = ["bread", "water", "sleep", "music", "trees", "birds"]
    samples = [Sample(input=f"Tell me about {w}.", target="e", id=w) for w in words]
    return Task(dataset=MemoryDataset(samples), solver=generate(temperature=0, max_tokens=8), scorer=includes(), epochs=2)
"""


@pytest.mark.parametrize(("name", "package"), [("harness", "lm_eval"), ("inspect", "inspect_ai")])
def test_a_missing_package_is_one_sentence_before_anything_is_measured(
    bench_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    bench = bench_of(bench_folder, tmp_path / "r.sqlite", **{name: {"mine": "a_task"}})
    with pytest.raises(MissingComponent, match=rf"suite\.{name}: needs {package}; `pip install 'attestrl\[{name}\]'`"):
        suite.run(bench, ["multiple_choice", name], tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(not find_spec("lm_eval"), reason="lm-evaluation-harness is not installed")
def test_the_harness_says_what_this_suite_says(bench_folder: Path, tmp_path: Path) -> None:
    """Same items, same prompts, no delimiter: accuracies, intervals and differences are the same."""
    file = tmp_path / "task.yaml"
    file.write_text(HARNESS)
    bench = bench_of(bench_folder, tmp_path / "r.sqlite", harness={"deduction": str(file)})
    theirs = {r.metric.removeprefix("harness/deduction/acc/"): r for r in harness_tasks.run(bench).results}
    ours = {r.metric.removeprefix("multiple_choice/logical_deduction/"): r for r in multiple_choice.run(bench).results}
    assert set(theirs) == {"base", "sft", "policy", "sft_minus_base", "policy_minus_sft"}
    for name, result in theirs.items():
        same = ours[f"accuracy/{name}"]
        assert (result.value, result.low, result.high, result.n) == (same.value, same.low, same.high, same.n)
        assert result.models == same.models and len(result.data["deduction"]) == 64


@pytest.mark.skipif(not find_spec("inspect_ai"), reason="Inspect is not installed")
def test_inspect_asks_the_suites_models(bench_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "task.py"
    file.write_text(INSPECT)
    bench = bench_of(bench_folder, tmp_path / "r.sqlite", inspect={"letters": f"{file}@letters"})
    found = {r.metric: r for r in inspect_tasks.run(bench).results}
    words = ("bread", "water", "sleep", "music", "trees", "birds")
    prompts: list[Any] = [[{"role": "user", "content": f"Tell me about {w}."}] for w in words]
    for model in ("sft", "policy"):
        texts = bench.respond(model, prompts, samples=2, temperature=GREEDY, max_new_tokens=8).texts
        result = found[f"inspect/letters/includes/{model}"]
        assert result.value == pytest.approx(np.mean(["e" in t.lower() for t in texts]))
        assert result.n == len(words) and result.low <= result.value <= result.high
