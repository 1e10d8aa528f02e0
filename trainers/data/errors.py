"""Errors of TensorFlow while shards are read, as one line that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from transforms import storage
from transforms.dataset.manifest import load
from transforms.errors import FmaError
from transforms.library_errors import HTTP_ANSWER, OBJECT_READ, OPERATION, WRONG_COUNT
from transforms.records import read_records
from transforms.runtime import console
from transforms.runtime.invocation import command_line

MOST_BYTES = 4 << 30
"""Size of a dataset that is read again to find out which shard is damaged; TensorFlow does not say it."""

CREDENTIALS = (
    "TensorFlow reads gs:// with the credentials of gcloud auth application-default login, of a service account's key "
    "file (GOOGLE_APPLICATION_CREDENTIALS) or of a machine of Google's, and of no other kind"
)


@contextmanager
def translate_read_errors(dataset: str) -> Iterator[None]:
    """Turn TensorFlow's errors about a dataset's files into FmaErrors; anything else passes through.

    Raises:
      FmaError: a shard is damaged, missing, unreadable or has another number of records than dataset.json says.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.DataLossError as error:
        raise FmaError(f"{_find_damage(dataset)}: run {command_line('verify', dataset)}") from error
    except (tf.errors.NotFoundError, tf.errors.PermissionDeniedError) as error:
        if ".tfrecord" not in error.message:
            raise  # about something else than a shard
        is_refused = isinstance(error, tf.errors.PermissionDeniedError) and not storage.is_local(dataset)
        advice = CREDENTIALS if is_refused else f"run {command_line('verify', dataset)}"
        raise FmaError(f"cannot read {_detail(error.message)}: {advice}") from error
    except (tf.errors.AbortedError, tf.errors.UnavailableError, tf.errors.DeadlineExceededError) as error:
        if storage.is_local(dataset):
            raise
        raise FmaError(f"cannot read {_detail(error.message)}: check the network and run the command again") from error
    except (tf.errors.FailedPreconditionError, tf.errors.InvalidArgumentError) as error:
        if not WRONG_COUNT.search(error.message):
            raise
        raise FmaError(
            f"{dataset} does not have the records that its dataset.json lists: run {command_line('verify', dataset)}"
        ) from error


def _detail(message: str) -> str:
    """TensorFlow's message on one line, without the names of its operations; of an HTTP answer, its reason."""
    path, answer = OBJECT_READ.search(message), HTTP_ANSWER.search(message)
    if path and answer:
        return f"{path[1]} (HTTP {answer[1]}: {(answer[2] or 'no reason given').rstrip('.')})"
    return " ".join(OPERATION.remove(message).split())


def _find_damage(dataset: str) -> str:
    unknown = f"a shard of {dataset} is damaged"
    if not storage.is_local(dataset):
        return unknown
    manifest = load(dataset)
    shards = [shard for kind in manifest.config.features for shard in manifest.shards(kind)]
    if sum(shard.bytes for shard in shards) > MOST_BYTES:
        return unknown
    console.log("a shard is damaged; looking for it")
    for shard in shards:
        path = storage.join(dataset, shard.path)
        try:
            with storage.open_read(path) as file:
                for _ in read_records(file, path):
                    pass
        except FmaError as error:
            return str(error)
        except FileNotFoundError:
            return f"{path} is missing"
    return unknown
