"""Writing the exported model's folder. Imports TensorFlow.

| file | what |
|---|---|
| saved_model.pb, variables/, assets/labels.txt | the SavedModel; signatures in `trainers.serving.waveform` |
| model.tflite | the same for devices, where it converts |
| export.json | labels, sample rate, window, temperature, versions, and how closely both agree with the pipeline |
"""

import os
import tempfile
import warnings
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from trainers.run_state import write_json
from trainers.runs import RunConfig, versions
from trainers.serving.keras_scorer import KerasScorer
from trainers.serving.waveform import SIGNATURES, WaveformModel
from transforms import storage
from transforms.errors import FmaError
from transforms.features import KINDS
from transforms.quiet import notes_kept_back

FACTS, TFLITE, LABELS = "export.json", "model.tflite", "labels.txt"
SAVED_MODEL = "saved_model.pb"
DEVICE = "serving_default"
"""The TFLite model's signature has the name that TFLite takes where none is given."""

TOLERANCE = 1e-2
"""Of the check at the end of an export; rounding may move a few mel values by one step."""


def export_network(scorer: KerasScorer, out: str, config: RunConfig, *, tflite: bool) -> dict[str, Any]:
    """Exports a model, and compares what it wrote with the pipeline on a made-up song.

    Args:
      scorer: the run's model.
      out: folder to write to; it is empty or not there yet.
      config: of the run.
      tflite: whether to convert it for devices, too.

    Returns:
      export.json's content, and `bytes` by file name.

    Raises:
      FmaError: what was written does not agree with the pipeline.
    """
    with tempfile.TemporaryDirectory() as folder:
        labels = os.path.join(folder, LABELS)
        with open(labels, "w", encoding="utf-8") as file:
            file.write("".join(f"{genre}\n" for genre in scorer.labels))
        module = WaveformModel(scorer, labels)
        saved, reason = os.path.join(folder, "saved"), ""
        with notes_kept_back(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tf.lite's interpreter says that it will move to another package
            tf.saved_model.save(module, saved, {name: getattr(module, name) for name in SIGNATURES})
            if tflite:
                reason = _convert(module, folder, os.path.join(saved, TFLITE))
            agreement = _compare(scorer, saved)
        facts = _facts(scorer, config) | {"agreement": agreement, "tflite": reason}
        sizes = _publish(saved, out)
        write_json(storage.join(out, FACTS), facts)
    return facts | {"bytes": sizes}


def _convert(module: WaveformModel, folder: str, path: str) -> str:
    """Writes the TFLite model; returns why there is none, or what it needs, or ""."""
    source = os.path.join(folder, "device")
    frozen = _frozen(module)
    tf.saved_model.save(frozen, source, {DEVICE: frozen.device})
    converter = tf.lite.TFLiteConverter.from_saved_model(source, signature_keys=[DEVICE])
    needs = ""
    try:
        model = converter.convert()
    except Exception as error:  # noqa: BLE001 - the converter has no error of its own
        builtin = tf.lite.OpsSet.TFLITE_BUILTINS
        converter.target_spec.supported_ops = [builtin, tf.lite.OpsSet.SELECT_TF_OPS]
        try:
            model = converter.convert()
        except Exception:  # noqa: BLE001
            return f"no {TFLITE}: this model does not convert ({_first_line(error)})"
        needs = f"{TFLITE} needs TensorFlow's own operators on the device (select TF ops)"
    with open(path, "wb") as file:
        file.write(model)
    return needs


def _frozen(module: WaveformModel) -> tf.Module:
    """The module's `device` with its weights as constants: TFLite takes variables for ones that are set later."""
    traced = module.device.get_concrete_function()
    names = sorted(traced.structured_outputs)
    constant = convert_variables_to_constants_v2(traced)
    frozen = tf.Module()
    signature = [tf.TensorSpec([None], tf.float32, name="waveform")]
    frozen.device = tf.function(
        lambda waveform: dict(zip(names, constant(waveform), strict=True)), input_signature=signature
    )
    return frozen


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


def _compare(scorer: KerasScorer, saved: str) -> dict[str, float]:
    """Largest difference of a probability, by file, on the made-up song."""
    song = made_up_song(scorer)
    expected = pipeline_probabilities(scorer, song)
    signature = tf.saved_model.load(saved).signatures["serving_default"]
    found = {SAVED_MODEL: signature(waveform=tf.constant(song))["probabilities"].numpy()}
    path = os.path.join(saved, TFLITE)
    if os.path.exists(path):
        found[TFLITE] = run_tflite(path, song)["probabilities"]
    agreement = {name: float(np.abs(values - expected).max()) for name, values in found.items()}
    for name, difference in agreement.items():
        if not difference <= TOLERANCE:
            raise FmaError(f"the exported {name} differs from the pipeline by {difference:.3f} in a probability")
    return agreement


def run_tflite(path: str, song: np.ndarray) -> dict[str, np.ndarray]:
    """What a TFLite model says about a waveform, float32 [n]."""
    return tf.lite.Interpreter(path).get_signature_runner(DEVICE)(waveform=song)


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
    """Copies a folder, `SAVED_MODEL` last: an export that was broken off has none. Returns bytes by name."""
    prefix = source + os.sep
    files = {path.removeprefix(prefix): size for path, size in storage.list_files(source)}
    for name in sorted(files, key=lambda name: name == SAVED_MODEL):
        storage.write_bytes(storage.join(out, name), storage.read_bytes(os.path.join(source, name)))
    files[SAVED_MODEL] = sum(size for name, size in files.items() if name != TFLITE)
    return files
