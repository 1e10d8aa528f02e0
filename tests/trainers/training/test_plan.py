"""The user's settings over a model's own."""

import argparse
from dataclasses import replace

import pytest

from tests.trainers import tiny
from trainers.commands.train import add_arguments, read_options
from trainers.models import MODELS
from trainers.models.spec import ModelOptions
from trainers.runs.directory import RunConfig, create_run, fold_path
from trainers.training.plan import TrainOptions, choose_model_options, choose_phases, describe_phase, keep_to_begun
from transforms.errors import UsageError


def parse(*arguments: str) -> TrainOptions:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return read_options(parser.parse_args(["mel_cnn", "--data", "d", "--run", "r", "--seed", "3", *arguments]))


def test_without_settings_the_models_own_hold():
    assert choose_phases(tiny.TWO_PHASES, parse()) == tiny.TWO_PHASES.phases
    assert choose_model_options(tiny.TINY, parse()) == ModelOptions(seed=3)


def test_one_number_is_for_every_phase_and_several_are_for_each():
    phases = choose_phases(tiny.TWO_PHASES, parse("--epochs", "7", "--learning-rate", "0.1,0.01"))
    assert [(phase.epochs, phase.learning_rate) for phase in phases] == [(7, 0.1), (7, 0.01)]
    phases = choose_phases(tiny.TWO_PHASES, parse("--batch-size", "4", "--patience", "3", "--label-smoothing", "0"))
    assert {(phase.batch_size, phase.patience, phase.label_smoothing) for phase in phases} == {(4, 3, 0.0)}


def test_a_phase_of_no_epochs_is_left_out():
    (phase,) = choose_phases(tiny.TWO_PHASES, parse("--epochs", "4,0"))
    assert (phase.name, phase.epochs) == ("top", 4)


def test_augmentation_is_switched_one_by_one_or_all_at_once():
    (phase,) = choose_phases(tiny.TINY, parse("--no-augment"))
    assert (phase.mixup, phase.spec_augment, phase.gain) == (0.0, False, False)
    (phase,) = choose_phases(tiny.TINY, parse("--no-mixup"))
    assert (phase.mixup, phase.spec_augment, phase.gain) == (0.0, True, True)
    (phase,) = choose_phases(tiny.TINY, parse("--no-augment", "--mixup"))
    assert (phase.mixup, phase.spec_augment, phase.gain) == (0.2, False, False)
    with pytest.raises(UsageError, match="reads raw"):
        choose_phases(tiny.TINY_RAW, parse("--spec-augment"))


def test_class_weights_are_balanced_unless_said_otherwise():
    assert {phase.class_weights for phase in choose_phases(tiny.TWO_PHASES, parse())} == {"balanced"}
    phases = choose_phases(tiny.TWO_PHASES, parse("--class-weights", "sqrt"))
    assert [describe_phase(phase)["class_weights"] for phase in phases] == ["sqrt", "sqrt"]


def test_a_phase_is_stored_as_plain_values():
    values = describe_phase(tiny.TWO_PHASES.phases[0])
    assert values["name"] == "top"
    assert "prepare" not in values


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "x", "", "1,,2"])
def test_what_is_no_learning_rate_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        parse("--learning-rate", text)
    assert "--learning-rate" in capsys.readouterr().err


def test_a_run_of_an_earlier_version_goes_on_with_what_was_the_default_then(tmp_path):
    dataset, before = {"path": "d", "digest": "a", "config": {}}, describe_phase(MODELS["mel_cnn"].phases[0])
    del before["degrade"]
    config = RunConfig("mel_cnn", {"width": 1.0}, 3, dataset, ["Rock"], [before], {})
    create_run(str(tmp_path / "older"), config)
    create_run(str(tmp_path / "plain"), replace(config, options={"loudness": True}))
    create_run(str(tmp_path / "new"), replace(config, options={"loudness": True}, phases=[before | {"degrade": True}]))
    folds = replace(config, options={"loudness": True, "folds": 5}, phases=[])
    for name in ("folds", "older-folds"):
        create_run(str(tmp_path / name), folds)
    create_run(fold_path(str(tmp_path / "older-folds"), 1), replace(folds, phases=[before]))
    of = {path.name: replace(parse(), run=str(path)) for path in [*tmp_path.iterdir(), tmp_path / "none"]}
    for name in ("new", "folds", "none"):
        assert keep_to_begun(of[name], MODELS["mel_cnn"]) == of[name]
    for name in ("plain", "older-folds"):
        assert keep_to_begun(of[name], MODELS["mel_cnn"]) == replace(of[name], degrade=False)
    assert keep_to_begun(replace(of["plain"], degrade=True), MODELS["mel_cnn"]).degrade is True
    on_mel = keep_to_begun(of["older"], MODELS["mel_cnn"])
    assert (on_mel.loudness, on_mel.degrade, on_mel.gain) == (False, False, None)
    assert keep_to_begun(of["older"], MODELS["waveform_cnn"]).gain is True
    assert keep_to_begun(of["older"], MODELS["yamnet"]).gain is None
    assert keep_to_begun(replace(of["older"], no_augment=True), MODELS["waveform_cnn"]).gain is None
    assert keep_to_begun(replace(of["older"], loudness=True), MODELS["mel_cnn"]).loudness is True
