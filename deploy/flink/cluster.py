"""A Flink cluster on this machine: one JobManager, several TaskManagers, a pool of Python workers.

    python deploy/flink/cluster.py fetch     # Flink and Beam's job server, with Maven; once
    python deploy/flink/cluster.py start     # prints how to submit a job
    python deploy/flink/cluster.py status
    python deploy/flink/cluster.py stop

Everything is below --home, also the logs. Needs Java 11 or 17, and Maven for `fetch`.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = HERE.parents[1] / ".runners" / "flink"
DRIVER = "org.apache.beam.runners.flink.FlinkJobServerDriver"
MAIN = {
    "jobmanager": "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
    "taskmanager": "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
}
HEAP_MB = {"jobmanager": 512, "taskmanager": 384}
POOL_PORT = 50000
"""Where `fma` looks for workers by default."""

OPENED = "io lang lang.invoke lang.reflect net nio text time util util.concurrent util.concurrent.atomic"
"""Packages below `java.` that Flink needs reflective access to."""

CONFIG = """\
jobmanager.rpc.address: localhost
jobmanager.rpc.port: {rpc_port}
rest.address: localhost
rest.port: {port}
# A lost TaskManager is given up after 6 s; until then, restarted work may be sent to it again.
heartbeat.interval: 1000
heartbeat.timeout: 6000
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 5
restart-strategy.fixed-delay.delay: 4 s
cluster.evenly-spread-out-slots: true
taskmanager.numberOfTaskSlots: {slots}
taskmanager.cpu.cores: 1
# Python has its own memory. The job of fma statistics has some 300 steps, which share the slots' network buffers and
# managed memory; no step needs more than a few MB at a time.
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.task.heap.size: 256m
taskmanager.memory.framework.off-heap.size: 64m
taskmanager.memory.task.off-heap.size: 0m
taskmanager.memory.network.min: 256m
taskmanager.memory.network.max: 256m
taskmanager.memory.managed.size: 512m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 64m
taskmanager.memory.jvm-overhead.max: 64m
"""


def fetch(home: Path) -> None:
    """Copy the jars into `lib/` with Maven, and write job-server.jar, which names them."""
    lib = home / "lib"
    if (home / "job-server.jar").exists():
        print(f"{home} has everything already")
        return
    if home.exists() and {path.name for path in home.iterdir()} - {"lib", "job-server.jar.new"}:
        sys.exit(f"{home} is not empty and holds no cluster: give a new folder as --home")
    if not shutil.which("mvn"):
        sys.exit("Maven (mvn) is not installed")
    command = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies"]
    ran = subprocess.run([*command, "-DincludeScope=runtime", f"-DoutputDirectory={lib}"], check=False)
    if ran.returncode:
        sys.exit("Maven could not fetch everything: see above")
    jars = sorted(lib.glob("*.jar"))
    opened = " ".join(f"java.base/java.{name}" for name in OPENED.split())
    manifest = {
        "Manifest-Version": "1.0",
        "Main-Class": DRIVER,
        "Add-Opens": opened,
        "Class-Path": " ".join(f"lib/{jar.name}" for jar in jars),
    }
    with zipfile.ZipFile(home / "job-server.jar.new", "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "".join(map(manifest_lines, manifest, manifest.values())) + "\n")
    (home / "job-server.jar.new").rename(home / "job-server.jar")
    print(f"{len(jars)} jars in {home}")


def manifest_lines(name: str, value: str) -> str:
    """Return an entry of a jar's manifest: lines of at most 72 bytes; continuation lines begin with a space."""
    text = f"{name}: {value}"
    return "\n ".join([text[:70], *(text[i : i + 69] for i in range(70, len(text), 69))]) + "\n"


def start(args: argparse.Namespace) -> None:
    """Start everything and wait until the TaskManagers have registered."""
    home: Path = args.home
    if not (home / "job-server.jar").exists():
        fetch(home)
    if any(alive(pid) for pid in pids(home).values()):
        sys.exit(f"it runs already: python {sys.argv[0]} stop --home {home}")
    for folder in ("conf", "run", "log", "tmp"):
        shutil.rmtree(home / folder, ignore_errors=True)
        (home / folder).mkdir(parents=True)
    config = CONFIG.format(port=args.port, rpc_port=args.rpc_port, slots=args.slots)
    (home / "conf" / "config.yaml").write_text(config)
    launch(home, "jobmanager", java(home, "jobmanager"))
    for number in range(1, args.task_managers + 1):
        launch(home, f"taskmanager-{number}", java(home, "taskmanager"))
    launch(home, "pool", [sys.executable, str(HERE / "worker_pool.py"), "--port", str(args.pool_port)])
    wait_for_slots(home, args.port, args.task_managers * args.slots)
    print(f"{args.task_managers} TaskManagers of {args.slots} slots; their page: http://localhost:{args.port}")
    submit = ["--runner FlinkRunner", f"--flink_master localhost:{args.port}"]
    submit.append(f"--flink_job_server_jar {home / 'job-server.jar'}")
    if args.pool_port != POOL_PORT:
        submit.append(f"--environment_type EXTERNAL --environment_config localhost:{args.pool_port}")
    print("submit with\n  fma ingest ... " + " \\\n    ".join(submit))
    left = (args.task_managers - 1) * args.slots
    print(f"or, so that the job can go on when a TaskManager is lost, with --parallelism {left} too" if left else "")


def java(home: Path, role: str) -> list[str]:
    """Return the command of a JobManager or TaskManager. Beam's own jars come with each job."""
    jars = [str(jar) for jar in sorted((home / "lib").glob("*.jar")) if not jar.name.startswith("beam-")]
    opened = [f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in OPENED.split()]
    settings = [f"-Xmx{HEAP_MB[role]}m", "-XX:MaxDirectMemorySize=400m", f"-Djava.io.tmpdir={home / 'tmp'}"]
    run = ["-cp", os.pathsep.join(jars), MAIN[role], "--configDir", str(home / "conf")]
    return ["java", "-XX:+UseSerialGC", *settings, *opened, *run]


def launch(home: Path, name: str, command: list[str]) -> None:
    """Start a process that outlives this one."""
    environment = {**os.environ, "FLINK_CONF_DIR": str(home / "conf")}
    with open(home / "log" / f"{name}.log", "wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
    (home / "run" / f"{name}.pid").write_text(str(process.pid))


def wait_for_slots(home: Path, port: int, slots: int, seconds: float = 120) -> None:
    """Wait until the cluster has that many slots."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        dead = [name for name, pid in pids(home).items() if not alive(pid)]
        if dead:
            stop(home)
            log = home / "log" / f"{dead[0]}.log"
            last = log.read_text(errors="replace").splitlines()[-1:]
            sys.exit(": ".join([f"{dead[0]} has ended (see {log})", *last]))
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/overview", timeout=5) as answer:
                if json.load(answer)["slots-total"] >= slots:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.5)
    stop(home)
    sys.exit(f"the TaskManagers have not come up in {seconds:.0f} s: see {home / 'log'}")


def pids(home: Path) -> dict[str, int]:
    """Return the ids of the processes that `start` started, by name."""
    return {file.stem: int(file.read_text()) for file in sorted((home / "run").glob("*.pid"))}


def alive(pid: int) -> bool:
    """Whether the process of this id is a cluster's: the system may have reused the id."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    # A process has no command line at the moment in which it starts, nor as a zombie.
    return "org.apache.flink" in command or "worker_pool.py" in command or (not command and state not in "ZX")


def stop(home: Path, seconds: float = 15) -> None:
    """End the processes that `start` started."""
    started = pids(home)
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = [pid for pid in started.values() if alive(pid)]
        for pid in left:
            os.kill(pid, number)
        end = time.monotonic() + seconds
        while any(map(alive, left)) and time.monotonic() < end:
            time.sleep(0.1)
    for name in started:
        (home / "run" / f"{name}.pid").unlink()
    shutil.rmtree(home / "tmp", ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("fetch", "start", "status", "stop"))
    parser.add_argument("--home", type=lambda text: Path(text).resolve(), default=HOME, help=f"default {HOME}")
    parser.add_argument("--task-managers", type=int, default=2, metavar="N")
    parser.add_argument("--slots", type=int, default=2, metavar="N", help="of each TaskManager")
    parser.add_argument("--port", type=int, default=8081, help="of the JobManager's page and REST API")
    parser.add_argument("--rpc-port", type=int, default=6123)
    parser.add_argument("--pool-port", type=int, default=POOL_PORT)
    args = parser.parse_args()
    if args.command == "fetch":
        fetch(args.home)
    elif args.command == "start":
        start(args)
    elif args.command == "status":
        for name, pid in pids(args.home).items():
            print(f"{name}: {'runs' if alive(pid) else 'has ended'} ({pid})")
    else:
        stop(args.home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
