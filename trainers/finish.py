"""The end of a run: the best model is evaluated, and what only a resumption needs is removed."""

from dataclasses import replace

from trainers import backup
from trainers.data import count_records
from trainers.predictions import Predictor, evaluate_split
from trainers.run_predictions import write_predictions
from trainers.run_state import RunState, save_state
from trainers.runs import remove_leftovers, write_metrics
from trainers.training import Job

HELD_OUT = ("validation", "test")


def finish(job: Job, state: RunState) -> RunState:
    """Evaluates the best model on the splits that it was not trained on, and marks the run as finished.

    Returns:
      the state that is stored from then on.
    """
    if state.finished:
        remove_leftovers(job.run)  # it may have been killed just before it did so
        return state
    backup.load_best(job.run, job.model)
    labels, batch_size = job.inputs.manifest.labels, max(phase.batch_size for phase in job.phases)
    predictor = Predictor(job.spec, job.model, job.device.strategy)
    metrics = {}
    for split in HELD_OUT:
        if count_records(job.inputs.manifest, job.inputs.kind, split):
            metrics[split], predictions = evaluate_split(predictor, job.inputs, split, labels, batch_size)
            write_predictions(job.run, split, predictions)
    write_metrics(job.run, metrics)
    early = state.phase_epoch < job.phases[state.phase].epochs
    state = replace(state, finished="validation no longer improved" if early else "all epochs done")
    save_state(job.run, state)
    remove_leftovers(job.run)
    return state
