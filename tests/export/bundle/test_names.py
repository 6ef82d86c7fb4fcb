"""A vocabulary comes whole from the user's file or from a list that travels with the package, or not at all."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import maclip
from maclip.runs import ClassNames
from maclip_export.bundle.names import BUILT_IN, read_names, vocabulary
from maclip_runtime.bundle.names import name_key
from maclip_runtime.errors import MaclipError

LISTS = Path(str(files("maclip_export") / "name_lists"))


def refused(spec: object) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        read_names(str(spec))
    assert caught.value.code == "names-invalid"
    return caught.value


@pytest.mark.parametrize(("spec", "count"), [("kinetics700", 700), ("ssv2", 174), ("hmdb51", 51), ("ucf101", 101)])
def test_a_built_in_list_is_whole_and_in_natural_words(spec, count):
    names = read_names(spec)
    assert len({name_key(name) for name in names}) == len(names) == count == BUILT_IN[spec]
    assert not [name for name in names if re.search(r"[\[\]_]|[a-z][A-Z]", name)]


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("kinetics700", "passing American football (not in game)"),
        ("ssv2", "pushing something from left to right"),
        ("hmdb51", "brush hair"),
        ("ucf101", "apply eye makeup"),
    ],
)
def test_a_built_in_list_says_where_it_is_from(spec, name):
    assert name in read_names(spec)
    row = next(line for line in (LISTS / "README.md").read_text().splitlines() if line.startswith(f"| `{spec}` |"))
    assert row.split("|")[2].strip() == str(BUILT_IN[spec])
    assert row.split("|")[4].strip()


def test_built_in_lists_hold_the_classes_of_the_few_shot_splits(shared_data):
    listed = json.loads((shared_data / "splits" / "clipfsar_class_names.json").read_text())
    for data, spec in (("ssv2_full", "ssv2"), ("ssv2_small", "ssv2"), ("hmdb51", "hmdb51"), ("ucf101", "ucf101")):
        known = {re.sub(r"\W", "", name_key(name)) for name in read_names(spec)}
        for name in [*listed[data]["train"], *listed[data]["test"]]:
            assert re.sub(r"\W", "", name_key(name)) in known, f"{spec}: {name}"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("a.txt", "\ufeffwaving a hand\n jumping \n"),
        ("names", "waving a hand\r\njumping"),
        ("a.json", '["waving a hand", "jumping"]'),
        ("a.json", '{"0": "waving a hand", "1": "jumping"}'),
        ("a.json", '{"waving a hand": "7", "jumping": "1"}'),
        ("classes.json", '{"classes": {"w": {"name": "waving a hand", "split": "train"}, "j": {"name": "jumping"}}}'),
        ("a.yaml", "# mine\n- waving a hand\n- jumping\n"),
        ("a.yml", "0: waving a hand\n1: jumping\n"),
        ("a.YAML", "classes:\n  w: waving a hand\n  j: jumping\n"),
        ("a.yaml", "waving a hand: 0\njumping: 1\n"),
    ],
)
def test_names_are_read_from_lines_lists_and_mappings(tmp_path, file, content):
    (tmp_path / file).write_bytes(content.encode())
    assert read_names(str(tmp_path / file)) == ["waving a hand", "jumping"]


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("a.txt", "", "empty"),
        ("a.txt", "wave\n\njump", "line 2 is empty"),
        ("a.txt", "wave\n_\njump", "line 2 is empty"),
        ("a.txt", "wave\nrun\nWave", "lines 1 and 3"),
        ("a.txt", "brush hair\nbrush_hair", "lines 1 and 2"),
        ("a.json", "{}", "empty"),
        ("a.json", "[1]", "name 1 is 1"),
        ("a.json", "3", "neither a list nor a mapping"),
        ("a.json", "[", "cannot be read"),
        ("a.json", '{"classes": {"w": {"split": "train"}}}', "name 1 is"),
        ("a.yaml", "- wave\n- yes\n", "name 2 is True"),
        ("a.yaml", "- wave\n- 'wave'\n", "names 1 and 2"),
        ("a.yaml", "- wave\n- ''\n", "name 2 is empty"),
        ("a.yaml", "- [wave\n", "cannot be read"),
        ("a.yaml", "", "empty"),
    ],
)
def test_a_bad_names_file_is_refused_with_the_place(tmp_path, file, content, said):
    (tmp_path / file).write_text(content)
    assert said in refused(tmp_path / file).message


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"wave\n\xff\xfe")
    assert "cannot be read" in refused(tmp_path / "a.txt").message
    refused(tmp_path)


def test_an_unknown_list_is_answered_with_those_there_are():
    error = refused("kinetics400")
    for spec in BUILT_IN:
        assert spec in error.fix


def test_a_file_of_the_users_comes_before_a_list_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ssv2").write_text("wave")
    assert read_names("ssv2") == ["wave"]


def test_the_vocabulary_has_every_name_once():
    classes = ClassNames(train=("jump", "Wave", "brush_hair"), test=("sit",))
    assert vocabulary(classes, ["wave", "run", "brush hair"]) == ["Wave", "run", "brush_hair", "jump", "sit"]


def test_a_thousand_names_in_batches_equal_each_by_itself():
    """Batches are cut to their longest prompt; open_clip's own encoder computes every column of one prompt."""
    model = maclip.build("tiny", "tiny", adapters="none", prototype="none")
    templates = ("a photo of {}", "a blurred video of a person who is busy with {}.")
    model.config = maclip.ModelConfig.of(templates=templates)
    names = [*read_names("kinetics700"), *read_names("ssv2"), *read_names("ucf101"), "a " * 40]
    found = model.encode_names(names)
    assert found.shape == (len(names), model.feature_width)
    for row in [*range(0, len(names), 60), len(names) - 1]:
        with torch.no_grad():
            prompts = model.backbone.tokenizer([template.format(names[row]) for template in templates])
            each = F.normalize(model.clip.encode_text(prompts), dim=-1)
        torch.testing.assert_close(found[row], F.normalize(each.mean(0), dim=-1), rtol=0, atol=1e-5)
    assert model.encode_names([]).shape == (0, model.feature_width)


def test_names_that_were_given_for_a_file_and_what_is_no_text_are_refused(tmp_path):
    assert "is neither a file" in refused(", ".join(["waving a hand"] * 30)).message
    (tmp_path / "half.json").write_text('["ok", "\\ud800 bad"]')
    assert "half a character" in refused(tmp_path / "half.json").message
    (tmp_path / "deep.json").write_text("[" * 100_000)
    refused(tmp_path / "deep.json")


UCF = ["apply eye makeup", "yo yo", "tai chi"]


@pytest.mark.parametrize(
    ("file", "content", "names"),
    [
        ("classInd.txt", "1 ApplyEyeMakeup\n2 YoYo\n3 TaiChi\n", UCF),
        ("classInd.txt", "1 ApplyEyeMakeup\r\n2 YoYo\r\n3 TaiChi\r\n", UCF),
        ("names.txt", "ApplyEyeMakeup\nYoYo\nTaiChi", UCF),
        ("names.txt", "ApplyEyeMakeup 0\nYoYo 1\nTaiChi 2", UCF),
        ("names.txt", "0,abseiling\n1,air drumming\n", ["abseiling", "air drumming"]),
        ("names.txt", "0. abseiling\n1. air drumming\n", ["abseiling", "air drumming"]),
        ("names.txt", "2 hands up\n100 metres\nsit", ["2 hands up", "100 metres", "sit"]),
        ("names.txt", "3 point shot\n2 point shot", ["3 point shot", "2 point shot"]),
        ("names.csv", "0,abseiling\n1,air drumming\n", ["abseiling", "air drumming"]),
        ("names.csv", "id,name\n0,abseiling\n1,air drumming\n", ["abseiling", "air drumming"]),
        ("names.csv", "id,Aktion\n0,abseiling\n1,air drumming\n", ["abseiling", "air drumming"]),
        ("names.csv", "name,id\nabseiling,7\nair drumming,9\n", ["abseiling", "air drumming"]),
        ("names.csv", 'label;number\n"putting on, off";0\nabseiling;1\n', ["putting on, off", "abseiling"]),
        ("names.csv", "abseiling\nair_drumming\n", ["abseiling", "air drumming"]),
        ("names.csv", "name,group\nabseiling,sport\nair drumming,music\n", ["abseiling", "air drumming"]),
        ("names.tsv", "0\tabseiling\n1\tair drumming\n", ["abseiling", "air drumming"]),
    ],
)
def test_numbered_lists_and_tables_give_names_not_lines(tmp_path, file, content, names):
    (tmp_path / file).write_text(content)
    assert read_names(tmp_path / file) == names


@pytest.mark.parametrize("content", ["sport,abseiling\nmusic,drumming\n", "id,name\n", "", "1,2\n3,4\n", "0,\n1,a\n"])
def test_a_table_without_a_column_of_names_is_refused(tmp_path, content):
    (tmp_path / "names.csv").write_text(content)
    with pytest.raises(MaclipError) as caught:
        read_names(tmp_path / "names.csv")
    assert caught.value.code == "names-invalid"
