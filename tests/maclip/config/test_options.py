"""Options check themselves, have one name each, and are the same values on disk."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maclip.config import Config, EvaluationConfig, Machine, ModelConfig, Option, TrainConfig, option
from maclip.runs import RUN_FORMAT, ClassNames, Run, RunConfig, write_config
from maclip_runtime.bundle.manifest import Backbone
from maclip_runtime.errors import MaclipError

CONFIGS = (ModelConfig, TrainConfig, EvaluationConfig, Machine)
COMMANDS = {"train": (ModelConfig, TrainConfig, Machine), "eval": (EvaluationConfig,)}
OPTIONS = [(config, one) for config in CONFIGS for one in config.options()]
NUMBERS = [(config, one) for config, one in OPTIONS if one.minimum is not None]


def refused(config: type[Config], **wrong: object) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        config.of(**wrong)
    assert caught.value.code == "option-invalid"
    assert caught.value.fix
    return caught.value


def ids(pairs: list[tuple[type[Config], Option]]) -> list[str]:
    return [f"{config.__name__}-{one.name}" for config, one in pairs]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_two_options_of_a_command_share_a_name_or_a_flag(command):
    options = [one for config in COMMANDS[command] for one in config.options()]
    assert len({one.name for one in options}) == len({one.flag for one in options}) == len(options)
    assert all(one.help.endswith(".") for one in options)


def test_options_are_all_fields_of_all_nested_configurations():
    def leaves(config: Config) -> int:
        values = [getattr(config, field.name) for field in dataclasses.fields(config)]
        return sum(leaves(value) if isinstance(value, Config) else 1 for value in values)

    for config in CONFIGS:
        assert len(list(config.options())) == len(config().values()) == leaves(config())


@pytest.mark.parametrize(("config", "one"), OPTIONS, ids=ids(OPTIONS))
def test_a_default_is_what_its_option_says(config: type[Config], one: Option):
    assert config().values()[one.name] == one.default
    assert config.of(**{one.name: one.default}) == config()


@pytest.mark.parametrize(("config", "one"), NUMBERS, ids=ids(NUMBERS))
def test_bounds_are_allowed_and_what_lies_beyond_is_not(config: type[Config], one: Option):
    step = 1 if one.kind is int else 1e-3 * max(1.0, abs(one.minimum or 0))
    assert one.minimum is not None
    for bound, beyond in (
        (one.minimum, one.minimum - step),
        (one.maximum, None if one.maximum is None else one.maximum * 2 + 1),
    ):
        if bound is None:
            continue
        assert config.of(**{one.name: bound}).values()[one.name] == bound
        error = refused(config, **{one.name: beyond})
        assert one.flag in error.message
        assert f"{one.minimum:,}" in error.fix
    for wrong in (math.nan, "1", True, None if one.default is not None else "x"):
        assert one.flag in refused(config, **{one.name: wrong}).message
    if one.kind is int:
        refused(config, **{one.name: 2.5})


@pytest.mark.parametrize(("config", "name"), [(c, o.name) for c, o in OPTIONS if o.choices])
def test_choices_are_listed_where_another_is_given(config: type[Config], name: str):
    (one,) = (one for one in config.options() if one.name == name)
    assert one.choices is not None
    for choice in one.choices:
        assert config.of(**{name: choice}).values()[name] == choice
    error = refused(config, **{name: "another"})
    assert all(choice in error.fix for choice in one.choices)


@pytest.mark.parametrize(
    ("config", "wrong"),
    [
        (ModelConfig, {"text_token": "no"}),
        (ModelConfig, {"text_token": 1}),
        (ModelConfig, {"templates": "a photo of {}"}),  # one text is no list of texts
        (ModelConfig, {"templates": (1,)}),
        (ModelConfig, {"metric": 3}),
        (Machine, {"frame_cache": 3}),
        (TrainConfig, {"seed": np.float64(1)}),
    ],
)
def test_values_of_another_type_are_refused(config: type[Config], wrong: dict[str, Any]):
    refused(config, **wrong)


def test_numpys_numbers_become_plain_ones():
    config = TrainConfig.of(
        way=np.int64(7), learning_rate=np.float32(0.5), text_dropout=np.float64(0.25), episodes=np.int8(3)
    )
    assert config == TrainConfig.of(way=7, learning_rate=0.5, text_dropout=0.25, episodes=3)
    assert [type(value) for value in config.values().values()] == [type(v) for v in TrainConfig().values().values()]
    assert type(ModelConfig.of(text_token=np.bool_(False)).adapters.text_token) is bool
    assert ModelConfig.of(templates=["{}"]).text.templates == ("{}",)
    assert Machine(frame_cache="frames").frame_cache == Path("frames")
    assert type(ModelConfig.of(joint_scale=1).adapters.joint_scale) is float


def test_a_configuration_checks_itself_however_it_is_made():
    for make in (
        lambda: Machine(workers=0),
        lambda: dataclasses.replace(Machine(), workers=0),
        lambda: Machine().changed(workers=0),
    ):
        with pytest.raises(MaclipError, match="--workers cannot be 0"):
            make()


def test_options_are_found_by_name_at_any_depth_and_unknown_names_are_refused():
    config = TrainConfig.of(way=9, learning_rate=1e-3, cache="disk", validations=3, seed=2)
    found = (config.episode.way, config.optimizer.learning_rate, config.caching.cache, config.validation.validations)
    assert (*found, config.seed) == (9, 1e-3, "disk", 3, 2)
    changed = config.changed(way=4)
    assert changed.episode.way == 4
    assert changed.changed(way=9) == config
    assert changed.optimizer is config.optimizer
    assert TrainConfig.of(**config.values()) == config
    model = ModelConfig.of(adapters="none", prototype="clip-fsar", metric="trx", adapter_width=0.5)
    assert (model.adapters.kind, model.prototype.kind, model.metric.kind, model.adapters.width) == (
        "none",
        "clip-fsar",
        "trx",
        0.5,
    )
    for name in ("ways", "episode", "kind"):  # the second is a configuration, the third a field and no option's name
        error = refused(TrainConfig if name == "episode" else ModelConfig, **{name: 3})
        assert repr(name) in error.message
        assert "seed" in error.fix or "metric" in error.fix


def test_an_option_may_be_named_after_its_field():
    @dataclasses.dataclass(frozen=True)
    class Own(Config):
        some_number: int = option(3, "A number.", minimum=0)

    (one,) = Own.options()
    assert (one.name, one.flag, one.kind, one.default) == ("some_number", "--some-number", int, 3)


def test_a_run_gives_back_the_configurations_it_was_written_with(tmp_path):
    model = ModelConfig.of(
        frames=4, adapters="none", prototype_text="raw", templates=("a {}", "the {}"), logit_scale=20.0, metric="mean"
    )
    train = TrainConfig.of(way=3, learning_rate=1e-4, cache="none", patience=2, text_dropout=0.5, gradient_clip=2.0)
    written = RunConfig(
        RUN_FORMAT, "0", Backbone("tiny", "tiny", "0" * 64), model, train, "data", ClassNames(("a",)),
        chosen=None, data_sha256="1" * 64, lists=None, init=None,
    )  # fmt: skip
    write_config(tmp_path, written)
    assert Run.open(tmp_path).config == written
    facts = json.loads((tmp_path / "config.json").read_text())
    facts["train"]["optimizer"]["learning_rate"] = 99.0
    (tmp_path / "config.json").write_text(json.dumps(facts))
    with pytest.raises(MaclipError, match=r"--learning-rate cannot be 99\.0") as caught:
        Run.open(tmp_path)
    assert caught.value.code == "run-invalid"
    del facts["train"]["optimizer"]
    (tmp_path / "config.json").write_text(json.dumps({**facts, "novel": 1}))
    with pytest.raises(MaclipError) as caught:
        Run.open(tmp_path)
    assert caught.value.code == "run-invalid"
