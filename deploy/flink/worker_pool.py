"""A server that starts a Python worker whenever a Flink TaskManager asks for one: Beam's EXTERNAL environment.

    python deploy/flink/worker_pool.py --port 50000

One pool on each machine serves all TaskManagers there, with this Python and this copy of the program. Beam's own pool
(`apache_beam.runners.worker.worker_pool_main`) can serve only one: it identifies workers by their ids, which every
TaskManager counts from 1, so the first of two TaskManagers that finishes would end the other's worker, too.
"""

import argparse
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from apache_beam.portability.api import beam_fn_api_pb2 as api
from apache_beam.portability.api import beam_fn_api_pb2_grpc as api_grpc

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this copy of the program, which its workers run, too
from transforms.runtime import children

WORKER = (
    "import sys; from apache_beam.runners.worker.sdk_worker import SdkHarness; "
    "SdkHarness(sys.argv[1], worker_id=sys.argv[2]).run()"
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
GRACE_SECONDS = 10
"""Time for a worker to end by itself."""


class WorkerPool(api_grpc.BeamFnExternalWorkerPoolServicer):
    """Worker processes, by the connection that asked for them and the id that it gave them."""

    def __init__(self) -> None:
        self._workers: dict[tuple[str, str], subprocess.Popen] = {}
        self._lock = threading.Lock()

    def StartWorker(  # noqa: N802
        self, request: api.StartWorkerRequest, context: grpc.ServicerContext
    ) -> api.StartWorkerResponse:
        command = children.command(WORKER, request.control_endpoint.url, request.worker_id)
        variables = dict.fromkeys(THREAD_VARIABLES, "1") | children.environment()
        with self._lock:
            self._workers[context.peer(), request.worker_id] = subprocess.Popen(command, env=variables)
        return api.StartWorkerResponse()

    def StopWorker(  # noqa: N802
        self, request: api.StopWorkerRequest, context: grpc.ServicerContext
    ) -> api.StopWorkerResponse:
        with self._lock:
            worker = self._workers.pop((context.peer(), request.worker_id), None)
        if worker:
            end(worker)
        return api.StopWorkerResponse()

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            workers = list(self._workers.values())
        for worker in workers:
            worker.terminate()
        for worker in workers:
            end(worker)


def end(worker: subprocess.Popen) -> None:
    """Terminate a process, and kill it if it does not end."""
    worker.terminate()
    try:
        worker.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=50000)
    parser.add_argument(
        "--host", default="localhost", help="address to listen at; a TaskManager in the same pod is local"
    )
    args = parser.parse_args()
    pool = WorkerPool()
    server = grpc.server(ThreadPoolExecutor(16))
    api_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
    server.add_insecure_port(f"{args.host}:{args.port}")
    server.start()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print(f"workers are started on demand at {args.host}:{args.port}", flush=True)
    stop.wait()
    server.stop(0)
    pool.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
