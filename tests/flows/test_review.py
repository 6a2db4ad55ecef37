"""The review queue through its page: token, order, golden items, several reviewers, kills, and what flows back."""

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from flows.review import application, bound, export
from governance.errors import BadInput
from tasks.formats import read_preferences
from tasks.review_store import GOLDEN_EVERY, LEASE, ReviewStore
from tests.typed import attestrl

PROMPT = [{"role": "user", "content": "<b>Hi</b>"}]


def single(n: int) -> dict[str, Any]:
    return {"prompt": PROMPT, "responses": [f"answer {n}"], "why": "uncertain", "priority": float(n), "gold": None}


def pair(n: int, gold: int | None = None) -> dict[str, Any]:
    return {"prompt": PROMPT, "responses": [f"good {n}", f"bad {n}"], "why": "", "priority": 0.0, "gold": gold}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReviewStore:
    monkeypatch.setenv("ATTESTRL_HOME", str(tmp_path))
    return ReviewStore(tmp_path / "review.sqlite")


def visitor(store: ReviewStore, name: str | None = "Ada") -> TestClient:
    client = TestClient(application(store, "secret"), base_url="http://127.0.0.1")
    client.get("/?token=secret")
    if name:
        client.post("/name", data={"name": name})
    return client


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found
    return found.group(1)


def reply(client: TestClient, page: str, **more: str) -> str:
    fields = {k: hidden(page, k) for k in ("item", "since", "order")}
    return client.post("/answer", data=fields | more).text


def test_nobody_gets_in_without_the_token(store: ReviewStore) -> None:
    store.add("run", [single(1)])
    stranger = TestClient(application(store, "secret"), base_url="http://127.0.0.1")
    assert stranger.get("/").status_code == stranger.get("/?token=guess").status_code == 403
    assert stranger.post("/name", data={"name": "Eve"}).status_code == 403
    assert stranger.post("/answer", data={"item": "x"}).status_code == 403
    rebound = TestClient(application(store, "secret"), base_url="http://evil.example")
    assert rebound.get("/?token=secret").status_code == 400


def test_a_port_that_cannot_be_had_is_one_sentence() -> None:
    with bound(0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            BadInput, match=rf"^--port {port}: cannot be had \(Address already in use\); name another one\.$"
        ):
            bound(port)


def test_what_cannot_be_served_or_written(empty_project: Path) -> None:
    (empty_project / "out").write_text("")
    for arguments, words in (
        (["review", "--port", "99999"], "less than or equal to 65535"),
        (["review", "--export", "out"], "--export out: is a file"),
        (["monitor", "out", "--metrics", "."], "--metrics .: is a folder"),
    ):
        done = attestrl(empty_project, *arguments)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
        assert done.stderr.count("\n") == 1


def test_worst_first_escaped_and_kept_by_pseudonym(store: ReviewStore, tmp_path: Path) -> None:
    assert store.add("run", [single(1), single(2)]) == 2
    assert store.add("run", [single(1)]) == 0
    client = visitor(store)
    page = client.get("/").text
    assert "answer 2" in page and "uncertain" in page and "&lt;b&gt;Hi" in page and "<b>Hi" not in page
    reply(client, page, helpfulness="4", harmlessness="1", reason="rude")
    (rating,) = store.export()[2]
    assert rating["ratings"] == {"helpfulness": 4, "accuracy": None, "harmlessness": 1, "honesty": None}
    assert rating["reason"] == "rude" and rating["annotator_id"].startswith("p-") and rating["session_id"]
    assert b"Ada" not in (tmp_path / "review.sqlite").read_bytes()


def test_two_reviewers_get_different_items_and_each_gets_theirs_again(store: ReviewStore) -> None:
    store.add("run", [single(1), single(2)])
    ada, bob = visitor(store, "Ada"), visitor(store, "Bob")
    first, second = ada.get("/").text, bob.get("/").text
    assert "answer 2" in first and "answer 1" in second
    again = visitor(ReviewStore(store._path), "Ada").get("/").text  # the server was killed, another session
    assert hidden(again, "item") == hidden(first, "item") and hidden(again, "order") == hidden(first, "order")


def test_what_was_left_lying_goes_to_somebody_else(store: ReviewStore) -> None:
    store.add("run", [single(1)])
    assert store.next("p-a", 0.0) and store.next("p-b", LEASE - 1) is None
    assert store.next("p-b", LEASE + 1)


def test_rankings_flow_back_as_preferences(store: ReviewStore, tmp_path: Path) -> None:
    store.add("run", [pair(n) for n in range(12)])
    client, orders = visitor(store), set()
    for _ in range(12):
        page = client.get("/").text
        order = hidden(page, "order").split(",")
        orders.add(tuple(order))
        places = {f"place_{k}": "1" if index == "0" else "2" for k, index in enumerate(order)}
        reply(client, page, **places)
    assert len(orders) == 2  # both orders were shown
    assert export(tmp_path / "out") == {"comparisons": 12, "golden": 0, "ratings": 0}
    table = read_preferences(str(tmp_path / "out/comparisons.jsonl"))
    assert table.height == 12 and all(row[-1]["content"].startswith("good") for row in table["chosen"].to_list())
    row = json.loads((tmp_path / "out/comparisons.jsonl").read_text().splitlines()[0])
    assert row["seconds"] >= 0 and sorted(row["shown_order"]) == [0, 1]


def test_verdicts_on_two_responses_are_told_with_ties_and_place(store: ReviewStore) -> None:
    store.add("run", [pair(1), single(2), pair(3, gold=0)])
    store.add("run", [{**pair(4), "responses": ["a", "b", "c"]}])
    client = visitor(store)
    for _ in range(3):
        page = client.get("/").text
        count = len(hidden(page, "order").split(","))
        reply(client, page, **({"undecided": "1"} if count == 2 else {f"place_{k}": str(k + 1) for k in range(count)}))
    (found,) = store.compared()
    assert (found.responses, found.better) == (("good 1", "bad 1"), None) and found.first in (0, 1)


def test_several_responses_are_ranked_in_the_order_that_was_given(store: ReviewStore, tmp_path: Path) -> None:
    store.add("run", [{**pair(1), "responses": ["worst", "best", "middle", "last but one"]}])
    client = visitor(store)
    page = client.get("/").text
    wanted = {"1": 1, "2": 2, "3": 3, "0": 4}  # place of each response
    places = {f"place_{k}": str(wanted[i]) for k, i in enumerate(hidden(page, "order").split(","))}
    reply(client, page, **places)
    (row,) = store.export()[0]
    assert [row["responses"][i] for i in row["ranking"]] == ["best", "middle", "last but one", "worst"]
    export(tmp_path / "out")
    assert read_preferences(str(tmp_path / "out/comparisons.jsonl")).height == 6


def test_half_a_ranking_is_refused_and_nothing_is_kept(store: ReviewStore) -> None:
    store.add("run", [pair(1)])
    client = visitor(store)
    page = client.get("/").text
    for places in ({"place_0": "1"}, {"place_0": "1", "place_1": "1"}, {"place_0": "x", "place_1": "2"}):
        assert "place" in reply(client, page, **places)
        assert store.export()[0] == []
    reply(client, page, undecided="1")
    assert store.progress("nobody") == (0, 0) and store.export()[0] == []


def test_golden_items_come_to_everybody_and_stay_out_of_the_comparisons(store: ReviewStore) -> None:
    store.add("run", [pair(n) for n in range(30)] + [pair(100 + n, gold=0) for n in range(4)])
    for who in ("Ada", "Bob"):
        client, rng = visitor(store, who), random.Random(0)
        for _ in range(2 * GOLDEN_EVERY):
            page = client.get("/").text
            places = ["1", "2"]
            rng.shuffle(places)
            reply(client, page, place_0=places[0], place_1=places[1])
    comparisons, golden, _ = store.export()
    assert len(golden) == 4 and len({g["annotator_id"] for g in golden}) == 2
    assert len(comparisons) == 4 * GOLDEN_EVERY - 4
