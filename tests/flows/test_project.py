import shutil
from pathlib import Path

import pytest
import yaml

from flows import project
from governance.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy2(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_set_changes_one_value_and_keeps_comments(here: Path) -> None:
    before = (here / "params.yaml").read_text().splitlines()
    project.set_params(None, ["ppo.kl_coef=0.25"])
    after = (here / "params.yaml").read_text().splitlines()
    assert yaml.safe_load("\n".join(after))["ppo"]["kl_coef"] == 0.25
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_overlay_is_merged(here: Path) -> None:
    (here / "mine.yaml").write_text("ppo: {episodes: 128}\nbase: {model: some/hub-name}\n")
    project.set_params(here / "mine.yaml", ["seed=3"])
    now = yaml.safe_load((here / "params.yaml").read_text())
    assert (now["ppo"]["episodes"], now["base"]["model"], now["seed"]) == (128, "some/hub-name", 3)
    assert now["ppo"]["gamma"] == 1.0


@pytest.mark.parametrize("overlay", ["ingest: {audits: {}}\n", "{}\n"])
def test_an_empty_mapping_takes_away_what_was_there(here: Path, overlay: str) -> None:
    (here / "mine.yaml").write_text(overlay)
    project.set_params(here / "mine.yaml", [] if "audits" in overlay else ["ingest.audits={}"])
    assert yaml.safe_load((here / "params.yaml").read_text())["ingest"]["audits"] == {}


@pytest.mark.parametrize(
    ("assignment", "word"),
    [("ppo.kl_coef=-1", "ppo.kl_coef"), ("ppo.typo=1", "ppo.typo"), ("nothing", "key=value"), ("a.b.c=1", "section a")],
)
def test_wrong_values_change_nothing(here: Path, assignment: str, word: str) -> None:
    before = (here / "params.yaml").read_bytes()
    with pytest.raises(BadInput, match=word):
        project.set_params(None, [assignment])
    assert (here / "params.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "assignment", "words"),
    [
        (None, "a=[", "--set a=.*is not valid YAML"),
        (None, "ppo={kl_coef: 1, kl_coef: 2}", "duplicate key"),
        (b"", "seed=3", "params.yaml: has no keys"),
        (b"seed: 1\nproject: x\n\tx: 1\n", "seed=3", "params.yaml: line 3"),
        (b"seed: 1\nseed: 2\n", "seed=3", "params.yaml: line 2.*duplicate key"),
        (b"x: \xff\n", "seed=3", "params.yaml: is not UTF-8"),
    ],
)
def test_what_is_no_yaml_is_one_sentence(content: bytes | None, assignment: str, words: str, here: Path) -> None:
    file = here / "params.yaml"
    if content is not None:
        file.write_bytes(content)
    before = file.read_bytes()
    with pytest.raises(BadInput, match=words):
        project.set_params(None, [assignment])
    assert file.read_bytes() == before


def test_a_folder_is_no_overlay(here: Path) -> None:
    with pytest.raises(BadInput, match="is a folder"):
        project.set_params(here, [])


def test_outside_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=r"dvc\.yaml"):
        project.enter()
    assert project.settings().project == "attestrl"
