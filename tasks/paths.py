"""Where everything is, relative to the project's root (stages run there)."""

import os
import secrets
from pathlib import Path

from governance.digest import write_atomic

PARAMS = Path("params.yaml")
INGESTED = Path("data/interim/ingested")
PEOPLE = INGESTED / "people.parquet"
VALID = Path("data/interim/valid")
AUDITS = VALID / "audits"
AUDIT_NAMES = AUDITS / "names.json"  # there also if nothing is audited: DVC keeps no empty folder
PROCESSED = Path("data/processed")
ROUNDS = Path("data/raw/rounds")
PRINCIPLE_PAIRS = Path("data/interim/principle_pairs.parquet")  # without rows where none are asked for
OVERSIGHT_PAIRS = Path("data/interim/oversight_pairs.parquet")
MODELS = Path("data/models")
REPORTS = Path("data/reports")

BASE = MODELS / "base"
SFT = MODELS / "sft"
REWARD = MODELS / "reward"
PROCESS = REWARD / "process"  # inside the reward model's folder, with which it is hashed, registered and released
OUTCOME = REWARD / "outcome"
JUDGE = MODELS / "judge"
POLICY = MODELS / "policy"

STAGES = ("ingest", "validate", "annotators", "poisoning", "curate", "base", "sft", "reward", "ppo", "evaluate")


ROOT_VARIABLE = "ATTESTRL_PROJECT"


def root() -> Path:
    """The project's folder, also for a run that works in a worktree of it (`flows/worktrees.py`)."""
    return Path(os.environ.get(ROOT_VARIABLE, "")).absolute()


def home() -> Path:
    """Folder of the untracked state: MLflow store, ledger, records, keys. `ATTESTRL_HOME` moves it."""
    return Path(os.environ.get("ATTESTRL_HOME", ".attestrl")).absolute()


def rounds() -> list[Path]:
    """Files of labels on policies' answers, one a round (`flows/rounds.py`)."""
    return sorted(ROUNDS.glob("round-*.jsonl"))


def review_queue() -> Path:
    """What people are to judge, and what they said (`tasks/review_store.py`)."""
    return home() / "review.sqlite"


def place() -> str:
    """Names this state folder among those that share an audit log or an MLflow store; made with the first run."""
    file = home() / "place"
    if not file.is_file():
        write_atomic(file, secrets.token_hex(8))
    return file.read_text(encoding="ascii")


def report(stage: str) -> Path:
    """Folder of a stage's reports; its `record.json` says what the stage made."""
    return REPORTS / stage
