"""The page of a bundle for people, and what laws and standards ask for, row by row."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from governance.errors import BadInput
from governance.mapping import TABLES, mapping, read_declarations, reference
from tests.governance.bundles import Exported


def test_the_page_opens_from_the_disk_and_escapes_what_it_shows(exported: Exported) -> None:
    page = exported.files["index.html"].decode()
    assert "This is evidence, not a declaration of compliance." in page
    assert "the annotators &lt;b&gt;and&lt;/b&gt; their votes" in page
    assert not re.search(r"<script|https?://(?!www\.w3\.org/2000/svg)", page)

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            for name, value in attrs:
                if name in ("href", "src"):
                    assert value in exported.files, value

    Links().feed(page)
    svg = ElementTree.fromstring(re.search(r"<svg.*?</svg>", page, re.DOTALL)[0])  # type: ignore[index]
    names = {t.text for t in svg.iter("{http://www.w3.org/2000/svg}text") if t.get("class") == "name"}
    assert {"ingest", "sft", "reward", "ppo", "evaluate", "data/raw/hh_rlhf", "release gate"} <= names
    boxes = {g[0].text: float(g[1].get("x") or 0) for g in svg if g.tag.endswith("}g")}
    assert boxes["sft"] < boxes["reward"] < boxes["ppo"] < boxes["evaluate"] < boxes["release gate"]


def test_every_row_of_every_list_is_mapped(exported: Exported) -> None:
    tables = {t["id"]: t["rows"] for t in json.loads(exported.files["mapping.json"])["tables"]}
    assert {name: len(rows) for name, rows in tables.items()} == {
        "eu_ai_act_annex_iv": 23,
        "eu_ai_act_articles": 9,
        "iso_42001_annex_a": 38,
        "nist_ai_rmf": 72,
        "gdpr": 6,
    }
    rows = {r["id"]: r for r in tables["eu_ai_act_annex_iv"]}
    assert rows["2.d"]["status"] == "evidence"
    assert {e["file"] for e in rows["2.d"]["evidence"]} == {"run/datasheet-preferences.md"}
    assert rows["8"]["status"] == "needs a person"
    assert rows["8"]["note"].startswith("write: the EU declaration of conformity")


def test_what_a_person_declares_is_in_the_mapping() -> None:
    declared = read_declarations("eu_ai_act_annex_iv:\n  1.f: {not_applicable: part of no product}\n", "d.yaml")
    rows = {r["id"]: r for r in mapping({}, declared)["tables"][0]["rows"]}
    assert (rows["1.f"]["status"], rows["1.f"]["note"]) == ("not applicable", "declared: part of no product")
    assert rows["1.e"]["status"] == "needs a person"


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "other_list: {}",
        "eu_ai_act_annex_iv: {99: {not_applicable: x}}",
        "eu_ai_act_annex_iv: {1.f: {}}",
        "eu_ai_act_annex_iv: {1.f: {not_applicable: ' '}}",
        "eu_ai_act_annex_iv: {1.f: nothing}",
        "- a",
        "general_purpose: yes, it is",
        "eu_ai_act_annex_xi: {1.1.b: {not_applicable: x}}",
    ],
)
def test_declarations_that_say_nothing_valid_are_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match=r"d\.yaml"):
        read_declarations(text, "d.yaml")


def test_a_row_without_evidence_says_what_a_person_writes() -> None:
    for table in TABLES:
        for row in reference(table.id):
            assert row["evidence"] or row["person"], row


def test_annex_xi_is_mapped_where_the_model_is_declared_general_purpose(exported: Exported) -> None:
    declared = read_declarations(
        "general_purpose: true\neu_ai_act_annex_xi:\n  '2.1': {not_applicable: no systemic risk}\n", "d.yaml"
    )
    table = mapping(exported.files, declared)["tables"][-1]
    rows = {r["id"]: r for r in table["rows"]}
    assert (table["id"], len(rows)) == ("eu_ai_act_annex_xi", 14)
    assert {e["file"] for e in rows["1.2.b"]["evidence"]} >= {"run/params.yaml"}
    assert (rows["2.1"]["status"], rows["2.1"]["note"]) == ("not applicable", "declared: no systemic risk")
    assert rows["1.1.b"]["note"] == "write: the acceptable use policy"
    assert all(row["evidence"] or row["person"] for row in reference(table["id"]))
    without = [t["id"] for t in mapping(exported.files, {})["tables"]]
    assert "eu_ai_act_annex_xi" not in without
