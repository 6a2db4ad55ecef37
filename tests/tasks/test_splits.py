import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tasks.splits import HELD_OUT_FROM, SIDES, position, side_of, split_key

ROOT = Path(__file__).resolve().parents[2]
SHARES = {
    "sft": 0.12,
    "reward_train": 0.36,
    "judge_train": 0.18,
    "ppo_prompts": 0.08,
    "reward_test": 0.14,
    "eval_prompts": 0.12,
}


@given(st.text())
def test_position_is_in_the_unit_interval(key: str) -> None:
    assert 0 <= position(key) < 1
    assert side_of(key, SHARES) in SIDES


@given(st.text(min_size=1), st.text())
def test_case_and_space_do_not_move_a_prompt(first: str, second: str) -> None:
    prompt = [{"role": "user", "content": first}]
    longer = [{"role": "user", "content": f"  {first.upper().lower()} "}, {"role": "assistant", "content": second}]
    same = " ".join(first.casefold().split()) == " ".join(first.upper().lower().casefold().split())
    assert (split_key(prompt) == split_key(longer)) or not same


def test_shares_are_met_on_real_prompts() -> None:
    lines = (ROOT / "data/raw/hh_rlhf/pairs.jsonl").read_text(encoding="utf-8").splitlines()
    keys = [split_key(json.loads(line)["prompt"]) for line in lines]
    sides = [side_of(k, SHARES) for k in keys]
    for side, share in SHARES.items():
        assert abs(sides.count(side) / len(sides) - share) < 0.03


def test_held_out_sides_were_not_pretrained_on() -> None:
    assert all(
        (side_of(str(k), SHARES) in ("reward_test", "eval_prompts")) == (position(str(k)) >= HELD_OUT_FROM)
        for k in range(5000)
    )
