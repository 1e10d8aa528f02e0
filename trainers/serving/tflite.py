"""Networks as TFLite, which runs without TensorFlow: part of exports and of finished runs. Imports TensorFlow.

Its converter takes graphs of TensorFlow only, so that a run of JAX is converted by a process of its own.

Beside `serving_default`, whose input is a waveform, a model has the two signatures that `trainers.serving.lite` calls:

    records   the records of windows, as ingestion stores them  -> logits, features
    song      the mean of a song's features                     -> logits (of a model that pools), embedding

A model that reads several kinds has `records_KIND` for each, and its features stand one behind another in `song`.
"""

import os
import re
import signal
import zipfile
from collections.abc import Callable, Mapping
from typing import BinaryIO, Protocol

import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from trainers.runs.directory import RunConfig, load_config
from trainers.runs.files import write_zip
from trainers.runs.state import RunState, load_state
from trainers.serving.keras_scorer import KerasScorer
from trainers.serving.lite import LITE, RECORDS, SONG, TFLITE, member, records_name
from trainers.serving.scorers import Scorer
from trainers.training.devices import open_device
from transforms.audio.features import KINDS
from transforms.runtime import children, console, temporary
from transforms.runtime.guard import main_guard
from transforms.runtime.stderr import capture_native_stderr

IN_CHILD = (
    "import sys; from trainers.training.devices import import_tensorflow; import_tensorflow(); "
    "from trainers.serving.tflite import main; sys.exit(main(sys.argv[1]))"
)

Signatures = dict[str, Callable[..., dict[str, tf.Tensor]]]


class Graph(Protocol):
    """A model as exports call it, split so that it gives features as well as logits; see `keras_scorer.Network`."""

    variables: list[tf.Variable]  # all weights
    width: int  # d, of features
    pooled: bool  # whether a song's logits are those of the mean of its windows' features

    def in_float32(self) -> "Graph":
        """Return itself or, if it computes in half precision, a copy that does not."""

    def of_kinds(self, payloads: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return logits [b, genres] and features [b, d] of windows, by kind as they are stored."""

    def of_kind(self, kind: str, records: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the `features`, and `logits` of a model that reads no other kind, of records as they are stored."""

    def head(self, features: tf.Tensor) -> tf.Tensor:
        """Return logits [b, genres] of features [b, d]; where `pooled`."""

    def embedding(self, features: tf.Tensor) -> tf.Tensor:
        """Return what songs are compared by, [b, e], of features [b, d]."""


def record_signatures(scorer: Scorer, network: Graph) -> Signatures:
    """Return the signatures that begin with records and with a song's mean features, of a scorer's network in float32.

    Those of `records` are of the feature kind's dtype, [b, ...]; all other arrays are float32 [b, ...].
    """
    features = tf.TensorSpec([None, network.width], tf.float32, name="features")

    @tf.function(input_signature=[features])
    def of_song(features: tf.Tensor) -> dict[str, tf.Tensor]:
        found = {"embedding": network.embedding(features)}
        return found | ({"logits": network.head(features)} if network.pooled else {})

    kinds = scorer.kinds
    return {records_name(kind, kinds): _of_records(scorer, network, kind) for kind in kinds} | {SONG: of_song}


def _of_records(scorer: Scorer, network: Graph, kind: str) -> Callable[..., dict[str, tf.Tensor]]:
    shape, dtype = KINDS[kind].shape(scorer.config), tf.as_dtype(KINDS[kind].dtype)

    @tf.function(input_signature=[tf.TensorSpec([None, *shape], dtype, name=RECORDS)])
    def of_records(records: tf.Tensor) -> dict[str, tf.Tensor]:
        return network.of_kind(kind, records)

    return of_records


def convert(module: tf.Module, signatures: Signatures, path: str) -> str:
    """Write a module's signatures as a TFLite model to a path.

    Returns:
      why there is none, or what it needs on the device, or "".
    """
    with temporary.new_folder() as folder:
        tf.saved_model.save(module, folder, signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures))
        needs = ""
        try:
            model = converter.convert()
        except ConverterError as error:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
            needs = (
                f"{TFLITE} is not compared: it needs TensorFlow's own operators (select TF ops), {_operators(error)}"
            )
            try:
                model = converter.convert()
            except ConverterError as again:
                return f"no {TFLITE}: TFLite cannot do {_operators(again)}"
    with open(path, "wb") as file:
        file.write(model)
    return needs


def _operators(error: Exception) -> str:
    """Return the operators that TFLite lacks, which its converter names on a line of their own."""
    found = re.search(r"^(?:TF Select|Custom) ops: (.+)$", str(error), re.MULTILINE)
    return found[1].strip() if found else " ".join(str(error).split())[:160]


def write_lite(run: str, config: RunConfig, state: RunState) -> None:
    """Write the network that a run keeps as TFLite to the run; a note says why not where TFLite cannot run it."""
    with temporary.new_folder() as folder, tf.device("CPU:0"), capture_native_stderr():
        scorer = KerasScorer(run, config)
        network, path = scorer.network.in_float32(), os.path.join(folder, TFLITE)
        module = tf.Module()
        module.variables_of_network = network.variables
        problem = convert(module, record_signatures(scorer, network), path)
        if not problem:
            write_zip(run, LITE, lambda file: _pack(path, member(state.best_epoch), file))
    if problem:
        _note_absence(run, problem)


def write_lite_in_child(run: str) -> None:
    """Do as `write_lite` in a child process, where Keras' backend is TensorFlow whatever it is here.

    A run is worth more than its quick start: where the child fails, it says why, and a note follows.
    """
    code = children.run(IN_CHILD, run)
    number = -code if code < 0 else code - 128
    if number > 0:
        _note_absence(run, f"the conversion to TFLite was ended by {signal.Signals(number).name}")
    elif code:
        _note_absence(run, "no conversion to TFLite")


def _note_absence(run: str, reason: str) -> None:
    console.log(f"note: predictions of {run} will start TensorFlow, which takes seconds: {reason}")


def main(run: str) -> int:
    """Do the child's part of `write_lite_in_child`; return the exit code."""
    return main_guard(_write_lite_of, run)


def _write_lite_of(run: str) -> int:
    open_device("cpu")  # the accelerator is the parent's
    write_lite(run, load_config(run), load_state(run))
    return 0


def _pack(path: str, name: str, target: BinaryIO) -> None:
    with zipfile.ZipFile(target, "w") as archive, open(path, "rb") as file:
        archive.writestr(zipfile.ZipInfo(name), file.read())  # without the time of day
