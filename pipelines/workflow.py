"""The steps of `fma run`: ingest, statistics, embeddings, models, report; only what has changed is done."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from enum import Enum
from importlib.metadata import version
from typing import NamedTuple

from pipelines.ingest.ingest import IngestOptions, IngestPlan, plan_ingest
from pipelines.statistics.update import reason_to_skip
from transforms import storage
from transforms.dataset.manifest import load
from transforms.encoders.facts import KIND as EMBEDDING
from transforms.errors import FmaError, check_format_version
from transforms.runtime import children, console
from transforms.runtime.invocation import command_line

INGEST, STATISTICS, REPORT = "ingest", "statistics", "report"
BASELINES, FUSION = "baselines", "fusion"
CLASSICAL: Mapping[str, list[str]] = {BASELINES: [], FUSION: ["--models", FUSION, "--refit", "train+val"]}
"""Models of `fma baselines`, with its options; all others are of `fma train`."""
EMBED = {"embed-yamnet": "yamnet", "embed-mobilenet_v2": "mobilenet_v2"}
"""Steps that the fusion needs, with the names of their encoders."""
FILE_NAME, FORMAT_VERSION = "run.json", 1
Inputs = Mapping[str, object]  # what a step's output depends on, as JSON values by name
Check = tuple[bool, str]  # whether a step has to run, and why


class Result(Enum):
    """How a step ended."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    NOT_RUN = "not run"


class Ended(NamedTuple):
    """How a step ended; why, or how long it took; the command that runs it alone, "" where it was not tried."""

    result: Result
    note: str
    command: str = ""


class Workflow:
    """The steps of a working folder, by name, in the order in which they run.

    Args:
      folder: for the dataset, the runs and the report; need not exist yet.
      ingest: the options of `fma ingest`.
      ingest_words: the same as a command line.
      models: by model, options of `fma train`, or of `fma baselines`.
      planned: what there is to ingest, where that is known: reading the tags of much music takes a while.
    """

    def __init__(
        self,
        folder: str,
        ingest: IngestOptions,
        ingest_words: list[str],
        models: dict[str, list[str]],
        planned: IngestPlan | None = None,
    ):
        self.folder, self.models, self.dataset = folder, models, ingest.out
        analysed = [STATISTICS] if set(models) - set(CLASSICAL) else []
        self.steps = [INGEST, *analysed, *(EMBED if FUSION in models else ()), *models, REPORT]
        self._ingest, self._ingest_words, self._planned = ingest, ingest_words, planned
        self._done = read_done(folder)

    def needs(self, step: str) -> list[str]:
        """Return the steps without which a step cannot run; the report needs one of the models, too."""
        if step == INGEST:
            return []
        is_trained = step in self.models and step not in CLASSICAL
        return [INGEST, *([STATISTICS] if is_trained else EMBED if step == FUSION else ())]

    def after(self, step: str) -> list[str]:
        """Return the steps whose results a step uses."""
        return self.needs(step) + (list(self.models) if step == REPORT else [])

    def inputs(self, step: str) -> Inputs:
        """Return what the output of a model or of the report depends on, as it is now."""
        manifest = load(self.dataset)
        if step == REPORT:
            return {"dataset": manifest.digest, "runs": self._runs(), "version": version("fma-genres")}
        statistics = asdict(manifest.transform_fn) if manifest.transform_fn and step not in CLASSICAL else {}
        for name in ("path", "arrays"):  # what they are of, not where and how they lie
            statistics.pop(name, None)
        own: dict[str, object] = {"statistics": statistics, "settings": self.models[step]}
        if step == FUSION:
            own["embeddings"] = [manifest.records_digest([f"{EMBEDDING}/{name}"]) for name in EMBED.values()]
        return {"dataset": manifest.digest, **own, "version": version("fma-genres")}

    def output(self, step: str) -> str:
        """Return the report's path, or the folder of a model's run: one for each key of its inputs."""
        if step == REPORT:
            return storage.join(self.folder, "report.html")
        return storage.join(self.folder, "runs", f"{step}-{key_of(self.inputs(step))}")

    def _runs(self) -> list[str]:
        return [self.output(model) for model in self.models if self._done.get(model) == self.inputs(model)]

    def command(self, step: str) -> list[str]:
        """Return the words after `fma` that run a step alone."""
        if step == INGEST:
            return [INGEST, *self._ingest_words]
        if step == STATISTICS:
            return [STATISTICS, self.dataset, *self._ingest.beam_options]
        if step == REPORT:
            return [REPORT, *self._runs(), "--data", self.dataset, "--out", self.output(step)]
        if step in EMBED:
            return ["embed", self.dataset, "--encoder", EMBED[step], *self._ingest.beam_options]
        return [*model_command(step), "--data", self.dataset, "--run", self.output(step), *self.models[step]]

    def check(self, step: str) -> Check:
        """Compare a step's inputs with those of the last time; the steps before it are done."""
        if step == INGEST:
            return self._check_ingest()
        if step == STATISTICS:
            reason = reason_to_skip(self.dataset, load(self.dataset))
            return not reason, reason or "the training split is not analysed yet, or by an older version"
        if step in EMBED:
            manifest = load(self.dataset)
            lacking = manifest.lacks(f"{EMBEDDING}/{EMBED[step]}")
            return bool(lacking), f"{console.counted(lacking, 'track')} without" if lacking else "all tracks have them"
        now, output = self.inputs(step), self.output(step)
        why = describe_change(self._done.get(step), now) or ("" if storage.exists(output) else f"{output} is gone")
        return bool(why), why or f"{', '.join(now)}: as when {output} was made"

    def _check_ingest(self) -> Check:
        found = self._planned or plan_ingest(self._ingest)
        new, gone = len(found.growth.new), len(found.growth.drop | found.growth.drop_failures)
        if found.growth.has_work:
            parts = [console.counted(new, "new track")] * bool(new) + [f"{gone:,} to take out"] * bool(gone)
            return True, ", ".join(parts)
        if not found.manifest.generations:
            return True, "no dataset yet"
        return False, f"nothing new, {console.counted(found.growth.kept, 'track')} kept"

    def plan(self) -> dict[str, Check]:
        """Check each step without running it: one behind a step that runs would run too, or at least look again."""
        checks: dict[str, Check] = {}
        for step in self.steps:
            before = [name for name in self.after(step) if checks[name][0]]
            checks[step] = (True, f"after {', '.join(before)}") if before else self.check(step)
        return checks

    def run(self) -> dict[str, Ended]:
        """Run what has to run, in order; a step that fails stops those that need it, and no others."""
        ended: dict[str, Ended] = {}
        for number, step in enumerate(self.steps, 1):
            blocked = self.blocked_by(step, {name: end.result for name, end in ended.items()})
            what = f"[{number}/{len(self.steps)}] {step}"
            ended[step] = Ended(Result.NOT_RUN, blocked) if blocked else self._run(step, what)
        return ended

    def blocked_by(self, step: str, results: Mapping[str, Result]) -> str:
        """Return why a step cannot run after the results of those before it, or ""."""
        failed = [name for name, result in results.items() if result in (Result.FAILED, Result.NOT_RUN)]
        missing = [name for name in self.needs(step) if name in failed]
        if step == REPORT and all(model in failed for model in self.models):
            missing += self.models
        return f"needs {', '.join(missing)}" if missing else ""

    def _run(self, step: str, what: str) -> Ended:
        try:
            needed, why = self.check(step)
        except FmaError as error:
            console.log(f"{what}: {error}")
            return Ended(Result.FAILED, str(error))
        if not needed:
            console.log(f"{what}: skipped, {why}")
            return Ended(Result.SKIPPED, why)
        words = self.command(step)
        command = command_line(*words)
        console.log(f"{what}: {why}")
        console.log(f"      {command}")
        started = time.monotonic()
        code = children.run_command(*words)
        took = console.human_seconds(time.monotonic() - started)
        if code:
            return Ended(Result.FAILED, f"exit code {code} after {took}", command)
        if step not in (INGEST, STATISTICS, *EMBED):  # dataset.json says what these have done
            self._done[step] = self.inputs(step)
            write_done(self.folder, self._done)
        return Ended(Result.DONE, took, command)


def model_command(model: str) -> list[str]:
    """Return the words after `fma` that train a model, without data, run and a user's options."""
    return [BASELINES, *CLASSICAL[model]] if model in CLASSICAL else ["train", model]


def key_of(inputs: Inputs) -> str:
    """Return a short, stable name for inputs: 8 hex digits."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:8]


def describe_change(before: Inputs | None, now: Inputs) -> str:
    """Return which inputs differ from the last time, in a few words; "" for none."""
    if before is None:
        return "first time"
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return f"{', '.join(names)} changed" if names else ""


def read_done(folder: str) -> dict[str, Inputs]:
    """Return the inputs with which each step was last done, as run.json has them; {} where there is none.

    Raises:
      FmaError: it is damaged or of a newer version.
    """
    path = storage.join(folder, FILE_NAME)
    if not storage.exists(path):
        return {}
    try:
        values = json.loads(storage.read_bytes(path))
        check_format_version(path, values, FORMAT_VERSION)
        return values["done"]
    except (ValueError, KeyError, TypeError) as error:
        raise FmaError(f"{path} is damaged ({error}); remove it to run every step again") from None


def write_done(folder: str, done: Mapping[str, Inputs]) -> None:
    """Write run.json."""
    text = json.dumps({"format_version": FORMAT_VERSION, "done": done}, indent=2, sort_keys=True) + "\n"
    storage.write_bytes(storage.join(folder, FILE_NAME), text.encode())
