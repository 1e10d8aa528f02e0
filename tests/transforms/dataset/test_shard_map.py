import os

import pytest

from transforms.dataset import shard_map
from transforms.dataset.generation import ShardResult
from transforms.dataset.shard_map import LocalMap, ShardTask

TASKS = [ShardTask(f"shard {i}", str(i), 10) for i in range(6)]


def process_of(line: str) -> ShardResult:
    return ShardResult(f"shard {line}", found=str(os.getpid()))


@pytest.mark.parametrize(("workers", "here"), [(None, True), (1, True), (2, False)])
def test_as_many_processes_as_asked_for_and_none_of_their_own_for_little(workers, here):
    results = list(LocalMap(workers).run("test", process_of, TASKS))
    assert [result.name for result in results] == [task.name for task in TASKS]
    processes = {result.found for result in results}
    assert (processes == {str(os.getpid())}) is here
    assert len(processes) <= (workers or 1)


def test_where_there_is_much_to_read_it_is_done_in_processes(monkeypatch):
    monkeypatch.setattr(shard_map, "IN_PROCESS_UP_TO", 59)
    results = list(LocalMap().run("test", process_of, TASKS))
    assert str(os.getpid()) not in {result.found for result in results}
