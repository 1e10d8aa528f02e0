"""Writing the exported model's folder. Imports TensorFlow.

| file | what |
|---|---|
| saved_model.pb, variables/, assets/labels.txt | the SavedModel; signatures in `trainers.serving.waveform` |
| model.tflite | the same for devices, where it converts |
| export.json | labels, sample rate, window, temperature, versions, and how closely both agree with the pipeline |
"""

import os
import re
import tempfile
import warnings
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from trainers.run_state import write_json
from trainers.runs import RunConfig, versions
from trainers.serving.keras_scorer import KerasScorer
from trainers.serving.waveform import SIGNATURES, WAVEFORM, WaveformModel
from transforms import storage
from transforms.audio.features import KINDS
from transforms.errors import FmaError
from transforms.runtime.stderr import notes_kept_back

FACTS, TFLITE, LABELS = "export.json", "model.tflite", "labels.txt"
SAVED_MODEL, GRAPH = "SavedModel", "saved_model.pb"
DEVICE = "serving_default"
"""The TFLite model's signature has the name that TFLite takes where none is given."""

TOLERANCE, HALF_PRECISION, OTHER_PRECISION = 1e-3, 1e-2, 5e-2
"""Of the check at the end of an export: for a network that computes in float32; for the SavedModel of one that computes
in half precision, where another order of sums shows; and for its copy for devices, which computes in float32."""


def export_network(scorer: KerasScorer, out: str, config: RunConfig, *, tflite: bool) -> dict[str, Any]:
    """Exports a model, and compares what it wrote with the pipeline on a made-up song.

    Args:
      scorer: the run's model.
      out: folder to write to; it is empty or not there yet.
      config: of the run.
      tflite: whether to convert it for devices, too.

    Returns:
      export.json's content, and `bytes` of both models.

    Raises:
      FmaError: what was written does not agree with the pipeline.
    """
    with tempfile.TemporaryDirectory() as folder:
        labels = os.path.join(folder, LABELS)
        with open(labels, "w", encoding="utf-8") as file:
            file.write("".join(f"{genre}\n" for genre in scorer.labels))
        module = WaveformModel(scorer, labels)
        network = scorer.network.in_float32()
        full = network is scorer.network
        saved, reason = os.path.join(folder, "saved"), ""
        tolerances = {SAVED_MODEL: TOLERANCE if full else HALF_PRECISION}
        with notes_kept_back():
            tf.saved_model.save(module, saved, {name: getattr(module, name) for name in SIGNATURES})
            if tflite:
                reason = convert(WaveformModel(scorer, labels, network), folder, os.path.join(saved, TFLITE))
                if not reason:
                    tolerances[TFLITE] = TOLERANCE if full else OTHER_PRECISION
            agreement = _compare(scorer, saved, tolerances)
        facts = _facts(scorer, config) | {"agreement": agreement, "tflite": reason}
        sizes = _publish(saved, out)
        write_json(storage.join(out, FACTS), facts)
    return facts | {"bytes": sizes}


def convert(module: WaveformModel, folder: str, path: str) -> str:
    """Writes the TFLite model.

    Args:
      module: whose `device` it is to be.
      folder: for files on the way.
      path: of the model.

    Returns:
      why there is none, or what it needs on the device, or "".
    """
    source = os.path.join(folder, "device")
    tf.saved_model.save(module, source, {DEVICE: tf.function(module.device, input_signature=[WAVEFORM])})
    converter = tf.lite.TFLiteConverter.from_saved_model(source, signature_keys=[DEVICE])
    needs = ""
    try:
        model = converter.convert()
    except ConverterError as error:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        needs = f"{TFLITE} is not compared: it needs TensorFlow's own operators (select TF ops), {_operators(error)}"
        try:
            model = converter.convert()
        except ConverterError as again:
            return f"no {TFLITE}: TFLite cannot do {_operators(again)}"
    with open(path, "wb") as file:
        file.write(model)
    return needs


def _operators(error: Exception) -> str:
    """The operators that TFLite's converter stumbled over, which it names on a line of their own."""
    found = re.search(r"^(?:TF Select|Custom) ops: (.+)$", str(error), re.MULTILINE)
    return found[1].strip() if found else " ".join(str(error).split())[:160]


def _compare(scorer: KerasScorer, saved: str, tolerances: dict[str, float]) -> dict[str, float]:
    """Largest difference of a probability, by model, on the made-up song.

    Raises:
      FmaError: one is larger than it may be.
    """
    song = made_up_song(scorer)
    expected = pipeline_probabilities(scorer, song)
    signature = tf.saved_model.load(saved).signatures["serving_default"]
    found = {SAVED_MODEL: signature(waveform=tf.constant(song))["probabilities"].numpy()}
    if TFLITE in tolerances:
        found[TFLITE] = run_tflite(os.path.join(saved, TFLITE), song)["probabilities"]
    agreement = {name: float(np.abs(values - expected).max()) for name, values in found.items()}
    for name, difference in agreement.items():
        if not difference <= tolerances[name]:
            raise FmaError(f"the exported {name} differs from the pipeline by {difference:.3f} in a probability")
    return agreement


def run_tflite(path: str, song: np.ndarray) -> dict[str, np.ndarray]:
    """What a TFLite model says about a waveform, float32 [n]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the interpreter says that it will move to another package
        interpreter = tf.lite.Interpreter(path)
    return interpreter.get_signature_runner(DEVICE)(waveform=song)


def pipeline_probabilities(scorer: KerasScorer, song: np.ndarray) -> np.ndarray:
    """Calibrated probabilities float64 [classes] of a waveform, by ingestion's features and the run's model."""
    kind = KINDS[scorer.kind]
    extractor = kind.extractor(scorer.config)
    features = [*extractor.push(song), *extractor.finish()]
    payloads = np.stack([np.frombuffer(feature.payload, kind.dtype) for feature in features])
    logits, values = scorer.rows(payloads.reshape(-1, *kind.shape(scorer.config)))
    whole, _ = scorer.song(logits, values.mean(axis=0))
    return scorer.calibration.apply(whole[None])[0]


def made_up_song(scorer: KerasScorer) -> np.ndarray:
    """Three windows and a bit: a rising tone over noise that comes and goes, float32 [n]."""
    config = scorer.config
    t = np.arange(round(3.3 * max(config.window_samples, config.window_hop_samples))) / config.sample_rate
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(t)) * np.sin(3 * t) ** 2
    return (0.3 * np.sin(2 * np.pi * (110 * t + 60 * t**2)) + noise).astype(np.float32)


def _facts(scorer: KerasScorer, config: RunConfig) -> dict[str, Any]:
    settings = scorer.config
    return {
        "format_version": 1,
        "model": scorer.name,
        "labels": scorer.labels,
        "sample_rate": settings.sample_rate,
        "window_samples": settings.window_samples,
        "window_hop_samples": settings.window_hop_samples,
        "temperature": scorer.calibration.temperature,
        "dataset_digest": config.dataset["digest"],
        "config": settings.to_json(),
        "made_with": versions(),
    }


def _publish(source: str, out: str) -> dict[str, int]:
    """Copies a folder, `GRAPH` last: an export that was broken off has none. Returns the bytes of both models."""
    prefix = source + os.sep
    files = {path.removeprefix(prefix): size for path, size in storage.list_files(source)}
    for name in sorted(files, key=lambda name: name == GRAPH):
        storage.write_bytes(storage.join(out, name), storage.read_bytes(os.path.join(source, name)))
    return {TFLITE: files.pop(TFLITE, 0), SAVED_MODEL: sum(files.values())}
