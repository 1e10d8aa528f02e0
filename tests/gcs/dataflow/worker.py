"""Runs a pipeline that was staged for Dataflow: python -m tests.gcs.dataflow.worker gs://BUCKET/.../pipeline.pb"""

import sys

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import EmbeddedPythonEnvironment

from transforms import storage


def load(path: str) -> beam_runner_api_pb2.Pipeline:
    return beam_runner_api_pb2.Pipeline.FromString(storage.read_bytes(path))


def main() -> None:
    pipeline = load(sys.argv[1])
    for environment in pipeline.components.environments.values():
        environment.CopyFrom(EmbeddedPythonEnvironment.default().to_runner_api(None))
    result = FnApiRunner().run_via_runner_api(pipeline, PipelineOptions([]))
    result.wait_until_finish()


if __name__ == "__main__":
    main()
