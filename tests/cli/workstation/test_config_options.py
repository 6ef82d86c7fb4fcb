"""Options of the command line are those of the configurations, and reach them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from maclip.config import Config, EvaluationConfig, Machine, ModelConfig, Option, TrainConfig, option
from maclip.runs import RUN_FORMAT, ClassNames, RunConfig, write_config
from maclip_cli.workstation.app import app
from maclip_cli.workstation.config_options import takes
from maclip_runtime.bundle.manifest import Backbone
from maclip_runtime.errors import MaclipError

COMMANDS = {
    "train": (ModelConfig, TrainConfig, Machine),
    "ablate": (ModelConfig, TrainConfig, Machine),
    "eval": (EvaluationConfig,),
    "info": (ModelConfig,),
}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `maclip train` asks the trainer for; nothing is trained."""
    found: dict[str, Any] = {}

    def train_new(data: Path, out: Path, backbone: str, pretrained: str, model: Config, train: Config, **rest: Any):
        found.update(model=model, train=train, **rest)
        raise MaclipError("enough", "This is all that was to be seen.", "Go on.")

    monkeypatch.setattr("maclip.training.api.train_new", train_new)
    return found


def invoke(*arguments: object) -> MaclipError:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert isinstance(done.exception, MaclipError), done.output
    return done.exception


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_of_the_configurations_is_an_option_of_the_command(command):
    found = {name: param for param in get_command(app).commands[command].params for name in param.opts}  # type: ignore[attr-defined]
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "300", "TERM": "dumb"}).output
    for config in COMMANDS[command]:
        for one in config.options():
            assert one.flag in found, one.flag
            assert found[one.flag].help == one.help
            assert one.flag in shown
            assert one.help.split("\n")[0][:30] in " ".join(shown.split())


def other(one: Option) -> tuple[list[str], Any]:
    """Arguments that give the option another value than its default, and that value."""
    if one.kind is bool:
        return ["--no-" + one.flag.removeprefix("--") if one.default else one.flag], not one.default
    if one.choices is not None:
        value: Any = next(choice for choice in one.choices if choice != one.default)
    elif one.name == "templates":
        return [one.flag, "a {}", one.flag, "the {}"], ("a {}", "the {}")
    elif one.name == "ladder_temporal":
        return [one.flag, "2", one.flag, "3"], (2, 3)
    elif one.name in ("frame_cache", "stem_cache"):
        value = Path("kept")
    elif one.name in ("streams", "stream_videos"):
        value = str(Path("another").resolve())
    elif one.kind is str:
        value = "another"
    elif one.default is None:
        value = max(3, round(one.minimum or 0))
    elif one.kind is int:
        value = one.default + 2
    else:
        value = (one.default + (one.maximum or one.default + 3)) / 2
    return [one.flag, str(value)], value


PLACES: dict[str, type[Config]] = {"model": ModelConfig, "train": TrainConfig, "machine": Machine}
OPTIONS = [(place, one) for place, config in PLACES.items() for one in config.options()]


@pytest.mark.parametrize(("place", "one"), OPTIONS, ids=[one.flag for _, one in OPTIONS])
def test_a_value_reaches_its_configuration_and_no_other(given, tmp_path, place, one):
    arguments, value = other(one)
    assert invoke("train", tmp_path, "--out", tmp_path / "run", *arguments).code == "enough"
    expected = {"model": ModelConfig(), "train": TrainConfig(), "machine": Machine()}
    expected[place] = expected[place].changed(**{one.name: value})
    assert value != one.default
    assert {name: given[name] for name in expected} == expected


def test_without_options_the_configurations_are_the_defaults(given, tmp_path):
    invoke("train", tmp_path, "--out", tmp_path / "run")
    assert (given["model"], given["train"], given["machine"]) == (ModelConfig(), TrainConfig(), Machine())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--way", 1), "--way cannot be 1"),
        (("--learning-rate", "nan"), "--learning-rate cannot be nan"),
        (("--cache", "always"), "auto, stem, disk, none"),
        (("--prototype-text", "long"), "unit, raw"),
        (("--workers", 0), "--workers cannot be 0"),
    ],
)
def test_values_that_cannot_be_are_refused_as_in_python(given, tmp_path, arguments, told):
    error = invoke("train", tmp_path, "--out", tmp_path / "run", *arguments)
    assert (error.code, error.exit_code) == ("option-invalid", 2)
    assert told in f"{error.message} {error.fix}"
    assert not given


def test_resuming_refuses_another_value_of_a_nested_option_and_names_its_flag(tmp_path):
    run = tmp_path / "run"
    write_config(
        run,
        RunConfig(
            RUN_FORMAT, "0", Backbone("tiny", "tiny", "0" * 64), ModelConfig.of(templates=("a {}",)), TrainConfig(),
            str(tmp_path), ClassNames(("a",)), chosen=None, data_sha256="0" * 64, lists=None, init=None,
        ),
    )  # fmt: skip
    for arguments, told in (
        (("--gradient-clip", 2), "--gradient-clip 2.0 (the run has 1.0)"),
        (("--adapters", "none"), "--adapters none (the run has ladder)"),
        (("--no-text-token",), "--text-token False (the run has True)"),
        (("--template", "the {}"), "--template the {} (the run has a {})"),
        (("--adapted-depth", 1), "--adapted-depth 1 (the run has none)"),
    ):
        error = invoke("train", "--resume", run, *arguments)
        assert error.code == "resume-differs"
        assert told in error.message
    same = ("--gradient-clip", 1, "--template", "a {}", "--text-token", "--workers", 5)
    assert invoke("train", "--resume", run, *same).code == "weights-changed"  # it went on to load


@dataclasses.dataclass(frozen=True)
class Inner(Config):
    size: int = option(3, "A size.", minimum=1, maximum=9)


@dataclasses.dataclass(frozen=True)
class Outer(Config):
    words: tuple[str, ...] = option(("a",), "Words.", flag="--word")
    inner: Inner = dataclasses.field(default_factory=Inner)


def test_a_command_takes_configurations_beside_its_own_parameters():
    made = typer.Typer()
    seen: list[tuple[str, bool, Outer]] = []

    @made.command()
    @takes(config=Outer)
    def command(name: str, loud: Annotated[bool, typer.Option("--loud")] = False, *, config: Outer) -> None:
        """Does nothing."""
        seen.append((name, loud, config))

    for arguments in (["x"], ["y", "--loud", "--size", "4", "--word", "b", "--word", "c"]):
        assert CliRunner().invoke(made, arguments).exit_code == 0
    assert seen == [("x", False, Outer()), ("y", True, Outer.of(size=4, words=("b", "c")))]
    assert "Does nothing." in CliRunner().invoke(made, ["--help"]).output


CONFIGS = (ModelConfig, TrainConfig, EvaluationConfig, Machine)


def commands(group: typer.Typer) -> Iterator[Any]:
    yield from (command.callback for command in group.registered_commands)
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from commands(inner.typer_instance)


def test_every_number_on_the_command_line_has_a_range():
    bare = []
    seen = 0
    for command in commands(app):
        for name, hint in get_type_hints(command, include_extras=True).items():
            kind, *about = get_args(hint) if get_origin(hint) is Annotated else (hint,)
            if not {int, float} & {kind, *get_args(kind)} or str(about[0].rich_help_panel).endswith(" options"):
                continue  # no number, or an option of a configuration, which checks it
            seen += 1
            if None in (about[0].min, about[0].max):
                bare.append(f"{command.__name__} {name}")
    assert bare == []
    assert seen > 10
    for config in CONFIGS:
        for one in config.options():
            if one.kind in (int, float, int | None, float | None):
                assert None not in (one.minimum, one.maximum), one.name


@pytest.mark.parametrize(
    "command",
    [
        ("train", ".", "--out", "run", "--seed", 10**30),
        ("train", ".", "--out", "run", "--seed", -1),
        ("train", ".", "--out", "run", "--episodes", 10**12),
        ("train", ".", "--out", "run", "--frames", 10**9),
        ("eval", "run", ".", "--episodes", 10**12),
        ("data", "check", ".", "--frames", 10**9),
        ("synth", "clips", "--seed", -1),
        ("synth", "clips", "--seed", 10**30),
        ("synth", "clips", "--clips", 10**12),
        ("synth", "clips", "--workers", 10**6),
        ("export", "--frozen", "-o", "b", "--frames", 10**9),
        ("export", "--frozen", "-o", "b", "--gate-clips", 10**9),
        ("info", "--backbone", "tiny", "--frames", 10**9),
    ],
)
def test_numbers_out_of_range_are_the_users_input(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(app, [str(part) for part in command])
    assert isinstance(found.exception, MaclipError) or found.exit_code == 2
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "clips").exists()
    if isinstance(found.exception, MaclipError):
        assert found.exception.code == "option-invalid"
