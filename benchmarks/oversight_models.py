"""Oversight protocols with language models, on questions whose truth is known: python -m benchmarks.oversight_models [--model FOLDER]
[--judge '{url: …, model: …}' --expert '{url: …, model: …}'] [--questions 100 --turns 2 --max-new-tokens 64 --seed 7]; one JSON line.

Questions are those on which the stage `reward` measures a judge (tasks/oversight/problems.py): held-out word problems of GSM8K, whose wrong
answers are SIMULATED, and BIG-bench's logical deductions. Every protocol but recursive_reward, which needs prompts to learn from, judges
the same ones, drawn by the seed from those that fit into `oversight.max_tokens` with all that any protocol lets be said. Who judges and
who speaks is the model in the folder, or models behind OpenAI-compatible endpoints.

A figure is the share of right answers taken, half of one where the judge could not tell, of both files and of each, with Wilson's interval
over the questions; `…_minus_direct` is a difference on the same questions, with a bootstrap interval. One draw of questions and of what is
said: what differs from draw to draw of the texts is not in it.
"""

import argparse
import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.machine import described
from tasks import params, paths
from tasks.oversight.judge_audit import DIRECT, accuracy, reading
from tasks.oversight.pairs import gathered, numbers
from tasks.oversight.problems import known_questions
from tasks.training_params import Oversight

ROOT = Path(__file__).resolve().parents[1]
PROTOCOLS = (DIRECT, "consultancy", "debate", "amplification")


def measured(settings: Oversight, seed: int) -> dict[str, Any]:
    """Figures by protocol, and on how many questions they rest."""
    rooms = {
        name: gathered(settings.model_copy(update={"protocol": name}), seed, trust_remote_code=False)
        for name in PROTOCOLS
    }
    sources, too_long = known_questions(settings, seed, lambda q: all(room.left(q) >= 0 for room in rooms.values()))
    questions = [question for some in sources.values() for question in some]
    right = {}
    for name, room in rooms.items():
        found = numbers(room.protocol(questions, room.people, np.random.default_rng([seed, 0])))
        right[name] = found.right(questions)
    figures = {}
    for name, room in rooms.items():
        rows = accuracy(name, sources, {way: right[way] for way in (DIRECT, name)}, seed) + reading(
            room.judge.found, seed
        )
        figures[name] = {
            row["name"].removeprefix("oversight/"): {key: round(row[key], 4) for key in ("value", "low", "high")}
            for row in rows
            if name == DIRECT or not row["name"].startswith(f"oversight/judge_accuracy/{DIRECT}")
        }
    asked = {name: len(some) for name, some in sources.items()}
    said = {name: room.writer.counts for name, room in rooms.items()}
    return {"questions": asked, "too_long": too_long, "figures": figures, "written": said}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "data/raw/attestrl-small", help="a model folder")
    parser.add_argument("--judge", type=yaml.safe_load, help="an endpoint that tells log-probabilities; else the model")
    parser.add_argument("--expert", type=yaml.safe_load, help="an endpoint; else the model")
    parser.add_argument("--questions", type=int, default=100, help="of each file")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    shipped = params.load(ROOT / paths.PARAMS).oversight
    files = {key: str(ROOT / getattr(shipped, key)) for key in ("problems", "deductions")}
    given = {"turns": asked.turns, "max_new_tokens": asked.max_new_tokens, "audit": asked.questions}
    people = {"judge": asked.judge, "expert": asked.expert}
    settings = Oversight.model_validate(shipped.model_dump() | files | given | people)
    with tempfile.TemporaryDirectory(prefix="attestrl-oversight-") as folder, contextlib.chdir(folder):
        paths.SFT.parent.mkdir(parents=True)
        paths.SFT.symlink_to(asked.model.resolve())
        found = measured(settings, asked.seed)
    names = {who: (at or {"model": asked.model.name})["model"] for who, at in people.items()}
    print(json.dumps({"benchmark": "oversight_models", "seed": asked.seed, **names, **given, **found, **described()}))


if __name__ == "__main__":
    main()
