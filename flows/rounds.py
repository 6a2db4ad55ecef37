"""Rounds: a run ends by asking for labels on its policy's own answers, and the next run trains on them.

`data/raw/rounds/round-<k>.jsonl` holds the labels of round k; `ingest` reads every one that is there, so that the number
of these files says which round a run is in. What was asked, with the reward model's scores, is in `<home>/rounds/`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.elsewhere import call_dvc
from governance.digest import sha256_path, write_json, write_jsonl
from governance.entry import Event
from tasks import params, paths
from tasks.lineage import read_record

if TYPE_CHECKING:
    from flows.run import Run
    from tasks.rounds import Pair

MORE, WAITS, DONE = "more", "waits", "done"


def labelled() -> list[Path]:
    """Files of the rounds that have their labels, the first round first."""
    return [f for k in range(1, len(paths.rounds()) + 1) if (f := _labels_of(k)).is_file()]


def begin() -> None:
    """Before a run reads its data: what people answered to the last round becomes its labels, once every pair has an
    answer, and DVC keeps every file of labels as it is."""
    number = len(labelled()) + 1
    if _asked(number).is_file() and (rows := answers(number)) is not None:
        write_jsonl(_labels_of(number), rows)
    if files := paths.rounds():
        call_dvc("add", *map(str, files))


def simulated() -> bool:
    """Whether a label on a policy's answers, of any round, is a simulated rater's."""
    if not (files := paths.rounds()):
        return False
    from tasks.rounds import SIMULATED, read_labels

    return any(SIMULATED in str(row.get("source")) for file in files for row in read_labels(file))


def answers(number: int) -> list[dict[str, Any]] | None:
    """What reviewers said of a round's pairs; None unless they said something of each."""
    from tasks.review_store import ReviewStore
    from tasks.rounds import key_of

    if not paths.review_queue().is_file():
        return None
    asked = {p.key for p in _pairs(number)}
    comparisons, _, _ = ReviewStore(paths.review_queue()).export()
    rows = [c for c in comparisons if key_of(c["prompt"], c["responses"]) in asked]
    answered = {key_of(c["prompt"], c["responses"]) for c in rows}
    return [row | {"source": f"round {number}"} for row in rows] if answered == asked else None


def waiting() -> int | None:
    """The round that waits for people's answers and has them all; None if there is none."""
    number = len(labelled()) + 1
    return number if _asked(number).is_file() and answers(number) is not None else None


def after(run: "Run", settings: params.Params) -> dict[str, Any] | None:
    """What the rounds do when a run went all the way; None where there is one round alone. The run's record holds it.

    {number, of, state: more | waits | done, sentence, measured: [{round, asked_by, policy, labels, at_random, chosen}], principles or
    panel where these labelled}
    """
    if settings.rounds.number == 1:
        return None
    measured = _measure(run)
    number, of = len(labelled()) + 1, settings.rounds.number
    found: dict[str, Any] = {"number": number, "of": of, "measured": measured}
    if number >= of:
        return found | {"state": DONE, "sentence": f"round {number} of {of}: the last one."}
    if enough := _enough(measured, settings):
        return found | {"state": DONE, "sentence": f"round {number} of {of}: {enough}"}
    pairs = _ask(run, settings, number)
    if settings.rounds.labels == "people":
        sentence = (
            f"round {number} of {of}: {len(pairs)} pairs wait for their labels: `attestrl review`, or add a ranking to each "
            f"row of {_questions(number)}, and put the result into {_labels_of(number)}."
        )
        return found | {"state": WAITS, "sentence": sentence}
    how, n, more = _label(pairs, settings, number)
    if not n:
        return (
            found | more | {"state": DONE, "sentence": f"round {number} of {of}: none of {len(pairs)} pairs got {how}."}
        )
    found["measured"] = _measure(run)
    return found | more | {"state": MORE, "sentence": f"round {number} of {of}: {n} of {len(pairs)} pairs got {how}."}


def _ask(run: "Run", settings: params.Params, number: int) -> "list[Pair]":
    """Choose the pairs of a round and write what people are asked; the same again where this policy was asked before."""
    from tasks import rounds
    from tasks.review_store import ReviewStore

    policy = read_record("ppo")["outputs"][paths.POLICY.as_posix()]
    asked = _asked(number)
    if not (asked.is_file() and json.loads(asked.read_text(encoding="utf-8"))["policy"] == policy):
        pairs = rounds.choose(settings, number)
        write_jsonl(_questions(number), rounds.questions(pairs, number))
        write_json(asked, {"policy": policy, "run_id": run.run_id, "pairs": [asdict(p) for p in pairs]})
    pairs = _pairs(number)
    if settings.rounds.labels == "people":
        why = f"round {number}: which answer is better?"
        items = [
            {"prompt": p.prompt, "responses": p.responses, "why": why, "priority": 0.0, "gold": None} for p in pairs
        ]
        ReviewStore(paths.review_queue()).add(run.run_id, items)
    digests = {"policy": policy, "questions": sha256_path(_questions(number))}
    run.log(Event.ROUND_ASKED, digests, round=number, pairs=len(pairs), choose=settings.rounds.choose)
    return pairs


def _label(pairs: "Sequence[Pair]", settings: params.Params, number: int) -> tuple[str, int, dict[str, Any]]:
    """Write the labels that no person is asked for: (what they are, how many pairs have one, what more the record says)."""
    from tasks.rounds import panel, principle_labels, simulated_labels

    if settings.rounds.labels == "principles":
        rows, listed = principle_labels(pairs, settings, number)
        how, more = "labels by principles", {"principles": listed}
    else:
        rows, how, more = simulated_labels(pairs, settings, number), "simulated labels", {"panel": panel(settings)}
    if rows:
        write_jsonl(_labels_of(number), rows)
        call_dvc("add", str(_labels_of(number)))
    return how, len({row["id"] for row in rows}), more


def _measure(run: "Run") -> list[dict[str, Any]]:
    """How right each round's reward model was on its policy's answers, before it was trained on their labels; with the run that
    asked, and digests of that policy and of the labels, so that a policy's descent can be followed from run to run."""
    from tasks.rounds import accuracy, read_labels

    known = {e.subject_digests["labels"] for e in run.history.entries() if e.type == Event.ROUND_LABELLED}
    figures = []
    for number, file in enumerate(labelled(), start=1):
        if not _asked(number).is_file():  # labels from elsewhere
            continue
        measured = accuracy(_pairs(number), read_labels(file))
        asked = json.loads(_asked(number).read_text(encoding="utf-8"))
        digests, by = {"labels": sha256_path(file), "policy": asked["policy"]}, {"asked_by": asked["run_id"]}
        figures.append({"round": number, **by, **digests, **measured})
        if digests["labels"] not in known:
            run.log(Event.ROUND_LABELLED, digests, round=number, path=file.as_posix(), **by, **measured)
    return figures


def _enough(measured: list[dict[str, Any]], settings: params.Params) -> str | None:
    """Why no more labels are needed: on the last round's pairs at random the reward model was no less right than on the test
    side, by more than the margin (lower end of the interval)."""
    fresh = measured[-1]["at_random"] if measured else None
    if fresh is None or measured[-1]["round"] != len(labelled()):
        return None
    rows = json.loads((paths.report("reward") / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    test = next((r["value"] for r in rows if r["name"] == "accuracy/test" and not r.get("slice")), None)
    if test is None or fresh["low"] < test - settings.rounds.margin:
        return None
    return (
        f"the reward model was right on {fresh['value']:.0%} of the policy's answers (at least {fresh['low']:.0%}), against "
        f"{test:.0%} of the test side, so that labels would teach it nothing new."
    )


def _pairs(number: int) -> "list[Pair]":
    from tasks.rounds import Pair

    return [Pair(**p) for p in json.loads(_asked(number).read_text(encoding="utf-8"))["pairs"]]


def _labels_of(number: int) -> Path:
    return paths.ROUNDS / f"round-{number}.jsonl"


def _asked(number: int) -> Path:
    return paths.home() / "rounds" / f"round-{number}.json"


def _questions(number: int) -> Path:
    return paths.home() / "rounds" / f"round-{number}.jsonl"
