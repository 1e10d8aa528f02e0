import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from transforms.runtime.heap import keep_large_blocks
size = 58 << 20
keep_large_blocks(int(sys.argv[1]))
for i in range(6):
    if i == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(size, np.uint8)[::4096] = 1
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 4)
"""


def faults(announced: int) -> float:
    """Fresh pages for each block of 58 MiB that is written and freed, in a process of its own."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM, str(announced)], capture_output=True, text=True, check=True)
    return float(ran.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_blocks_that_are_announced_as_large_are_written_to_the_same_pages_again():
    assert faults(58 << 20) < 10
    assert faults(1 << 20) > 20
