"""Language models that judge, argue and help: both orders, quotes, lengths."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tasks.choice_models import EndpointModel
from tasks.oversight.amplification import Amplification
from tasks.oversight.language_models import ModelExpert, ModelHelper, ModelJudge, room, shown
from tasks.oversight.protocol import Case, Participants, Question, Statement
from tasks.oversight.quotes import marked
from tasks.oversight.writers import Writer, writer
from tasks.param_types import Endpoint
from tasks.rlhf.encoding import Messages
from tasks.rlhf.models import load_tokenizer
from tasks.training_params import Oversight
from tests.conftest import ROOT
from tests.tasks.oversight_server import oversight_server

ASKED = Question("Is it 4 or 5?", ("four", "five"), 0, 1)
CASE = Case(ASKED, (Statement(0, "It is <v_quote>four</v_quote>."), Statement(1, "No."), Statement(None, "2+2 four")))


def settings(**changes: Any) -> Oversight:
    given = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["oversight"]
    return Oversight.model_validate(given | changes)


class LikesA:
    """Likes the letter A by three, and by one whoever "four" is said of."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def logprobs(self, questions: Sequence[Messages]) -> np.ndarray:
        self.seen += [asked["content"] for (asked,) in questions]
        odds = [3 + (1 if "For answer A: It is <v_quote>four" in q else -1) for q in self.seen[-len(questions) :]]
        return np.array([[-np.log1p(np.exp(-x)), -np.log1p(np.exp(x))] for x in odds])


def test_the_sides_turn_with_the_answers_and_a_lean_cancels(tiny_model_folder: Path) -> None:
    asked = LikesA()
    judge = ModelJudge(asked, load_tokenizer(tiny_model_folder), 1000)
    np.testing.assert_allclose(judge.log_odds([CASE]), [1.0])
    there, back = asked.seen
    assert "[Answer A]\nfour\n\n[Answer B]\nfive" in there and "[Answer A]\nfive\n\n[Answer B]\nfour" in back
    assert "For answer B: No." in there and "For answer A: No." in back
    assert "- 2+2 four" in there and "- 2+2 four" in back  # a helper takes no side
    assert not judge.found[0].orders_agree[0]


def test_what_is_too_long_is_not_judged(tiny_model_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_model_folder)
    judge = ModelJudge(LikesA(), tokenizer, room(tokenizer, Case(ASKED)))
    found = judge.log_odds([CASE, Case(ASKED)])
    assert np.isnan(found).tolist() == [True, False] and judge.too_long == 1


def test_only_what_stands_word_for_word_is_verified() -> None:
    text = "<quote>a  b</quote> <quote>b c</quote> <v_quote>c</v_quote> <v_<v_quote>quote>d <quote> </quote>"
    assert marked(text, ["x a\nb y", "c"]) == "<v_quote>a b</v_quote> <u_quote>b c</u_quote> c d <u_quote></u_quote>"


def test_an_expert_speaks_in_one_line_and_cannot_verify_itself(tiny_model_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_model_folder)
    with oversight_server() as server:
        hand = writer(
            Endpoint(url=server.url, model="liar"), "oversight.expert", tokenizer, settings(max_new_tokens=90), 7
        )
        said = ModelExpert(hand).argue([CASE, Case(ASKED)], [1, 0])
        assert said == [("It is so: <u_quote>never said</u_quote> For answer B: I lose.",)] * 2
        first, second = sorted(server.asked("liar"), key=len, reverse=True)
    assert first.startswith(shown(CASE)) and "Answer B is yours to defend" in first and "For answer" not in second
    assert hand.counts == {"texts": 2, "cut": 0, "not_asked": 0}
    assert [(body["max_tokens"], body["temperature"]) for body in server.seen] == [(90, 0.7)] * 2


def test_a_text_ends_where_it_has_to_and_a_prompt_is_never_cut(tiny_model_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_model_folder)
    seen: list[Messages] = []

    def write(prompts: Sequence[Messages], seed: int) -> list[tuple[str, bool]]:
        seen.extend(prompts)
        return [("one two three four five six seven eight nine", True), ("one", False)][: len(prompts)]

    hand = Writer(write, tokenizer, settings(max_tokens=60, max_new_tokens=5), 0)
    first, second, third = hand.say(["Count", "Count", "Count " * 60])
    assert len(tokenizer(first, add_special_tokens=False)["input_ids"]) <= 5 and first.startswith("o")
    assert (second, third, len(seen)) == ("one", "", 2)
    assert hand.counts == {"texts": 2, "cut": 2, "not_asked": 1}
    assert ModelExpert(hand).argue([Case(Question("long " * 60, ("a", "b"), 0, 1))], [0]) == [()]


def test_a_helper_asks_smaller_questions_and_answers_them(tiny_model_folder: Path) -> None:
    with oversight_server() as server:
        endpoint = Endpoint(url=server.url, model="helper")
        helper = ModelHelper(writer(endpoint, "oversight.expert", load_tokenizer(tiny_model_folder), settings(), 7))
        assert helper.parts(["How many apples?"]) == [("How many?", "Of what?")]
        assert helper.composed(["How many apples?", "And?"], [["Of what? Apples."], []]) == ["Two.", "Two."]
        asked = server.asked("helper")
    assert sum("- Of what? Apples." in a for a in asked) == 1
    assert helper.stated("How\nmany?", "Two.") == "How many? Two."


def test_amplification_by_language_models(tiny_model_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_model_folder)
    with oversight_server() as server:
        hand = writer(Endpoint(url=server.url, model="helper"), "oversight.expert", tokenizer, settings(), 7)
        judge = ModelJudge(EndpointModel(Endpoint(url=server.url, model="judge"), "oversight.judge"), tokenizer, 1000)
        people = Participants(judge, helper=ModelHelper(hand))
        found = Amplification(2)([ASKED], people, np.random.default_rng(0))
        read, composed = server.asked("judge"), [asked for asked in server.asked("helper") if "What is known" in asked]
    assert [s.text for s in found.transcripts[0]] == ["How many? Two.", "Of what? Two."]
    assert len(read) == 2 and all("A model answered smaller questions" in asked for asked in read)
    assert len(composed) == 2 and all("- How many? Two." in asked for asked in composed)  # each part by its own parts


@pytest.mark.parametrize(("said", "parts"), [("None.", 0), ("", 0), ("1) a?\n\n2) b?\n* c?\nd?", 3)])
def test_smaller_questions_are_read_line_by_line(said: str, parts: int, tiny_model_folder: Path) -> None:
    hand = Writer(lambda asked, _: [(said, True)] * len(asked), load_tokenizer(tiny_model_folder), settings(), 0)
    assert ModelHelper(hand).parts(["x"]) == [("a?", "b?", "c?")[:parts]]
