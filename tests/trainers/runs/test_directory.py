"""The run directory: what may be resumed, what is refused, and how far a run has come."""

import json
from dataclasses import replace
from importlib import metadata

import pytest

from trainers.models.spec import Phase
from trainers.runs import directory
from trainers.runs.directory import RunConfig, create_run, load_config, locked, open_run, versions
from trainers.runs.state import RunState, advance, history_row, load_state, next_phase, save_state, write_history
from transforms.errors import FmaError, UsageError

PHASE = Phase("train", epochs=5, learning_rate=1e-3, patience=2)
CONFIG = RunConfig(
    model="mel_cnn",
    options={"width": 1.0, "dropout": None},
    seed=0,
    dataset={"path": "data/small", "digest": "a" * 64, "config": {}},
    labels=["Folk", "Rock"],
    phases=[{"name": "train", "epochs": 5, "mixup": 0.2, "spec_augment": True}],
    made_with={"keras": "3", "replicas": 1},
)


def test_a_run_that_does_not_exist_is_to_be_created(tmp_path):
    assert open_run(str(tmp_path / "run"), CONFIG) is None


def test_a_run_of_the_same_config_is_resumed_where_it_stands(tmp_path):
    run = str(tmp_path / "run")
    assert create_run(run, CONFIG) == RunState()
    assert open_run(run, CONFIG) == RunState()
    save_state(run, RunState(epoch=3, best=0.5, best_epoch=2, backup="epoch-0003"))
    assert open_run(run, CONFIG) == RunState(epoch=3, best=0.5, best_epoch=2, backup="epoch-0003")
    assert load_config(run) == CONFIG


def test_where_the_dataset_lies_and_which_versions_made_the_run_do_not_count(tmp_path):
    create_run(str(tmp_path), CONFIG)
    moved = replace(CONFIG, dataset=CONFIG.dataset | {"path": "elsewhere"}, made_with={"keras": "4"})
    assert open_run(str(tmp_path), moved) == RunState()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "yamnet"}, "model is mel_cnn, not yamnet"),
        ({"seed": 7}, "seed is 0, not 7"),
        ({"options": {"width": 2.0, "dropout": None}}, "width is 1.0, not 2.0"),
        ({"options": {"width": 1.0, "dropout": 0.5}}, "dropout is unset, not 0.5"),
        ({"phases": [CONFIG.phases[0] | {"epochs": 4}]}, "epochs is 5, not 4"),
        ({"phases": [CONFIG.phases[0] | {"epochs": 9, "mixup": 0.5}]}, "epochs is 5, not 9; mixup is 0.2, not 0.5"),
        ({"phases": [CONFIG.phases[0] | {"spec_augment": False}]}, "spec-augment is on, not off"),
        ({"phases": [CONFIG.phases[0] | {"name": "head"}]}, "the phases are train, not head"),
        ({"dataset": {"path": "", "digest": "b" * 64, "config": {}}}, "the dataset is not the one that the run began"),
        ({"labels": ["Folk", "Jazz"]}, "labels are Folk, Rock, not Folk, Jazz"),
    ],
)
def test_a_run_of_another_config_is_refused_and_the_difference_named(tmp_path, changes, message):
    create_run(str(tmp_path), CONFIG)
    with pytest.raises(UsageError) as refused:
        open_run(str(tmp_path), replace(CONFIG, **changes))
    assert message in str(refused.value)
    assert "another --run" in str(refused.value)


def test_the_phase_is_named_where_there_are_several(tmp_path):
    phases = [{"name": "head", "epochs": 5}, {"name": "fine", "epochs": 3}]
    create_run(str(tmp_path), replace(CONFIG, phases=phases))
    with pytest.raises(UsageError, match="epochs of phase fine is 3, not 2"):
        open_run(str(tmp_path), replace(CONFIG, phases=[phases[0], {"name": "fine", "epochs": 2}]))


HEAD, FINE = {"name": "head", "epochs": 5}, {"name": "fine", "epochs": 3}
ENDED = RunState(epoch=8, phase=1, phase_epoch=3, phase_done=True, wait=1, backup="epoch-0008", finished="all done")


@pytest.mark.parametrize(
    ("have", "want", "goes_on"),
    [
        ([HEAD, FINE], [HEAD, FINE | {"epochs": 9}], {"phase_done": False, "wait": 0}),
        ([HEAD, FINE], [HEAD, FINE, HEAD | {"name": "all"}], {}),  # the phase that ended stays so, and the next begins
        ([HEAD, FINE], [HEAD | {"epochs": 9}, FINE], None),  # over, with another phase behind it
        ([HEAD, FINE], [HEAD | {"epochs": 9}, FINE | {"epochs": 9}], None),
        ([HEAD, FINE], [HEAD, FINE | {"epochs": 2}], None),
        ([HEAD, FINE], [HEAD], None),
        ([HEAD, FINE], [HEAD, FINE | {"epochs": 9, "patience": 9}], None),
    ],
)
def test_the_phase_that_a_run_ended_with_may_get_more_epochs_and_others_may_follow(tmp_path, have, want, goes_on):
    run = str(tmp_path)
    create_run(run, replace(CONFIG, phases=have))
    save_state(run, ENDED)
    (tmp_path / "backup" / "epoch-0008").mkdir(parents=True)
    (tmp_path / "backup" / "epoch-0008" / "state.npz").touch()
    if goes_on is None:
        with pytest.raises(UsageError, match="or more epochs for its last phase, to carry on"):
            open_run(run, replace(CONFIG, phases=want))
        return
    assert open_run(run, replace(CONFIG, phases=want)) == replace(ENDED, finished="", phases=want, **goes_on)
    assert open_run(run, replace(CONFIG, phases=have)) == ENDED  # nothing counts before an epoch is committed


def test_a_run_that_had_more_epochs_is_one_of_so_many(tmp_path):
    run, more = str(tmp_path), [HEAD, FINE | {"epochs": 9}]
    create_run(run, replace(CONFIG, phases=[HEAD, FINE]))
    state = replace(ENDED, epoch=9, phases=more, finished="")
    save_state(run, state)
    assert open_run(run, replace(CONFIG, phases=more)) == state
    with pytest.raises(UsageError, match="epochs of phase fine is 9, not 3"):
        open_run(run, replace(CONFIG, phases=[HEAD, FINE]))


def test_a_run_without_what_more_epochs_start_from_is_refused(tmp_path):
    run = str(tmp_path)
    create_run(run, replace(CONFIG, phases=[HEAD, FINE]))
    save_state(run, ENDED)
    with pytest.raises(UsageError, match=r"epoch-0008/state\.npz, which they would start from, is missing"):
        open_run(run, replace(CONFIG, phases=[HEAD, FINE | {"epochs": 9}]))


def test_a_run_from_before_there_was_a_choice_of_class_weights_has_balanced_ones(tmp_path):
    create_run(str(tmp_path), CONFIG)
    now = [CONFIG.phases[0] | {"class_weights": "balanced"}]
    assert open_run(str(tmp_path), replace(CONFIG, phases=now)) == RunState()
    with pytest.raises(UsageError, match="class-weights is balanced, not sqrt"):
        open_run(str(tmp_path), replace(CONFIG, phases=[now[0] | {"class_weights": "sqrt"}]))


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"holds no run .*thesis\.tex"):
        open_run(str(tmp_path), CONFIG)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        open_run(str(tmp_path / "file"), CONFIG)


@pytest.mark.parametrize("path", ["backup/photos/1.jpg", "logs/mail.txt", "state.json", "model.keras"])
def test_names_that_a_run_would_use_are_somebody_elses_where_there_is_no_run(tmp_path, path):
    (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / path).touch()
    with pytest.raises(UsageError, match=f"holds no run .*{path.partition('/')[0]}"):
        open_run(str(tmp_path), CONFIG)


def test_what_a_run_killed_at_its_start_has_left_is_no_obstacle(tmp_path):
    (tmp_path / ".lock").touch()
    assert open_run(str(tmp_path), CONFIG) is None


def test_a_damaged_config_is_one_line(tmp_path):
    create_run(str(tmp_path), CONFIG)
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(FmaError, match=r"config\.json is damaged"):
        load_config(str(tmp_path))
    path.write_text(json.dumps({"format_version": 1, "model": "mel_cnn"}))
    with pytest.raises(FmaError, match=r"damaged: .*labels"):
        load_config(str(tmp_path))
    older = {name: getattr(CONFIG, name) for name in ("model", "options", "seed", "dataset", "labels", "phases")}
    for wrong in ({"labels": [1]}, {"dataset": {}}, {"dataset": []}, {"phases": ["train"]}, {"options": None}):
        path.write_text(json.dumps({"format_version": 1, "made_with": {}} | older | wrong))
        with pytest.raises(FmaError, match=f"damaged: TypeError its {'|'.join(wrong)}|damaged: .*path|damaged: "):
            load_config(str(tmp_path))
    path.write_text(json.dumps({"format_version": 99}))
    with pytest.raises(FmaError, match="update fma-genres"):
        load_config(str(tmp_path))
    path.write_text(json.dumps({"format_version": "1"}))
    with pytest.raises(FmaError, match=r"config\.json is damaged"):
        load_config(str(tmp_path))
    with pytest.raises(UsageError, match="is not a run"):
        load_config(str(tmp_path / "nowhere"))


def test_a_damaged_state_is_one_line(tmp_path):
    create_run(str(tmp_path), CONFIG)
    (tmp_path / "state.json").write_text('{"epoch": 1}')
    with pytest.raises(FmaError, match=r"state\.json is damaged"):
        load_state(str(tmp_path))


@pytest.mark.long
def test_two_trainers_cannot_share_a_run(tmp_path):
    run = str(tmp_path / "run")
    with locked(run), pytest.raises(FmaError, match="another fma train"), locked(run):
        pass
    with locked(run):
        pass


def test_history_keeps_its_numbers(tmp_path):
    rows = [
        {"epoch": 1, "phase": "head", "learning_rate": 0.001, "loss": 1.25, "accuracy": 0.5, "val_loss": 1.5},
        {"epoch": 2, "phase": "head", "learning_rate": 0.0005, "loss": 1.0, "accuracy": 0.75, "val_loss": 1.25},
    ]
    rows = [history_row(row) for row in rows]
    assert [row["val_accuracy"] for row in rows] == [None, None]
    write_history(str(tmp_path), rows)
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[:2] == ["epoch,phase,learning_rate,loss,accuracy,val_loss,val_accuracy", "1,head,0.001,1.25,0.5,1.5,"]


def losses(values: list[float | None], phase: Phase = PHASE, state: RunState | None = None) -> RunState:
    state = state or RunState()
    for value in values:
        assert not state.phase_done
        state = advance(state, phase, value)
    return state


def test_a_phase_ends_when_validation_has_not_improved_for_so_many_epochs():
    state = losses([1.0, 0.8, 0.9, 0.85])
    assert (state.epoch, state.best, state.best_epoch, state.wait, state.phase_done) == (4, 0.8, 2, 2, True)


def test_an_improvement_gives_patience_back():
    state = losses([1.0, 1.1, 0.9, 1.0])
    assert (state.best_epoch, state.wait, state.phase_done) == (3, 1, False)


def test_a_phase_ends_with_its_last_epoch():
    assert losses([5.0, 4.0, 3.0, 2.0, 1.0]).phase_done
    assert not losses([5.0, 4.0, 3.0, 2.0]).phase_done


def test_without_validation_the_last_epoch_is_the_best_and_nothing_stops_early():
    state = losses([None] * 5)
    assert (state.best_epoch, state.best, state.phase_done) == (5, None, True)


def test_the_best_of_all_phases_is_kept_and_each_has_its_own_patience():
    state = next_phase(losses([0.5, 0.6, 0.7]))
    assert (state.phase, state.phase_epoch, state.wait, state.best_epoch) == (1, 0, 0, 1)
    state = losses([0.9, 0.8, 0.7], state=state)
    assert (state.epoch, state.phase_epoch, state.best_epoch, state.best, state.wait) == (6, 3, 1, 0.5, 0)
    state = losses([0.4], state=state)
    assert (state.best_epoch, state.best) == (7, 0.4)


def test_metrics_of_other_datasets_do_not_mix_with_the_runs_own(tmp_path):
    run = str(tmp_path)
    assert directory.read_metrics(run) == {}
    directory.write_metrics(run, {"test": {"a": 1}})
    path = directory.write_evaluation(run, "f" * 64, "test", {"a": 2})
    assert directory.read_metrics(run) == {"test": {"a": 1}}
    assert json.loads((tmp_path / "evaluations" / "ffffffffffff-test.json").read_text()) == {"a": 2}
    assert path.endswith("evaluations/ffffffffffff-test.json")


def test_a_run_on_a_tpu_vm_says_which_tensorflow_it_had(monkeypatch):
    installed = {"keras": "3.15.1", "numpy": "2.4.6", "tensorflow-tpu": "2.20.0"}

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    assert versions()["tensorflow"] == "2.20.0"


def test_of_what_training_leaves_only_its_own_files_are_removed(tmp_path):
    run = str(tmp_path / "run")
    create_run(run, CONFIG)
    own = ("backup/epoch-0001/state.npz", "backup/epoch-0002/best.keras", "features/train-training.npz")
    theirs = ("backup/epoch-0001/notes.txt", "backup/songs/state.npz", "features/mine.npz", "thesis.doc")
    for path in (*own, *theirs):
        (tmp_path / "run" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / path).write_text("dear to somebody")
    assert directory.has_leftovers(run)
    directory.remove_leftovers(run)
    assert not directory.has_leftovers(run)
    found = {str(path.relative_to(run)) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert found == {"config.json", *theirs}
