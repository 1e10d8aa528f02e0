"""`fma` that also trains the small models of tests.trainers.tiny: python -m tests.faults.small_fma train tiny ..."""

import sys

import fma
from tests.trainers import tiny

if __name__ == "__main__":
    tiny.register()
    sys.exit(fma.main(sys.argv[1:]))
