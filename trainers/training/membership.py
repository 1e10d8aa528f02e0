"""Which place this process has among several hosts that train one model: from options, or from a TPU's machine."""

import os
import urllib.request
from typing import TYPE_CHECKING

from trainers.training.accelerators import tpu_address
from trainers.training.cluster import Membership
from transforms.errors import FmaError, UsageError

if TYPE_CHECKING:
    from trainers.training.plan import TrainOptions

TPU_PORT = 8490  # of process 0 of a TPU slice, where no address is given
METADATA = "http://{}/computeMetadata/v1/instance/attributes/{}"


def find_membership(options: "TrainOptions") -> Membership | None:
    """Return this process's place in a cluster: what the options say, or on a TPU the machine; None where it is alone.

    Raises:
      UsageError: the options do not fit.
      FmaError: the machine does not say.
    """
    found = read_membership(options.coordinator, options.processes, options.process)
    if found and options.backend != "jax":
        raise UsageError("several hosts train with --backend jax only")
    if not found and options.backend == "jax" and options.device in ("auto", "tpu") and tpu_address() == "local":
        found = find_slice()
    if found and options.cache == "device":
        raise UsageError("--cache device is for one host; several hosts keep their records in memory: --cache on")
    return found


def read_membership(coordinator: str | None, processes: int | None, process: int | None) -> Membership | None:
    """Return what the options --coordinator, --processes and --process say, None where none is given.

    Raises:
      UsageError: some of them are missing, or they do not fit.
    """
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if coordinator is None or processes is None or process is None:
        raise UsageError(
            f"several hosts need --coordinator, --processes and --process: give {' and '.join(missing)}, too"
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--coordinator {coordinator}: give the address of process 0 as HOST:PORT")
    if not 0 <= process < processes:
        raise UsageError(f"--process {process}: with --processes {processes} it is 0 to {processes - 1}")
    return Membership(coordinator, processes, process)


def find_slice() -> Membership | None:
    """Return this host's place in a slice of TPU hosts, from the machine's metadata; None where it is the only one.

    Raises:
      FmaError: the metadata cannot be read.
    """
    names, number = os.environ.get("TPU_WORKER_HOSTNAMES"), os.environ.get("TPU_WORKER_ID")
    if not names or number is None:
        try:
            names, number = (_metadata(key) for key in ("worker-network-endpoints", "agent-worker-number"))
        except OSError as error:
            raise FmaError(
                f"this TPU host does not know whether it is one of several ({error}): give --coordinator, "
                "--processes and --process, for a single host HOST:PORT, 1 and 0"
            ) from error
    hosts = [name.split(":")[-1] for name in names.split(",")]  # name:id:address, or an address alone
    return Membership(f"{hosts[0]}:{TPU_PORT}", len(hosts), int(number)) if len(hosts) > 1 else None


def _metadata(key: str) -> str:
    server = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    request = urllib.request.Request(METADATA.format(server, key), headers={"Metadata-Flavor": "Google"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=10) as answer:
        return answer.read().decode()
