"""A job's small files of lines: its plan, and what came of it.

Read and written by `transforms.storage`, like everything else: Beam's own file systems would bring another client of
cloud storage, with other credentials, patience and errors.
"""

from collections.abc import Iterable, Iterator

import apache_beam as beam

from transforms import storage


class ReadLines(beam.PTransform):
    """The lines of a file, each an element of its own that may go to any worker."""

    def __init__(self, path: str):
        super().__init__()
        self._path = path

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        return begin | "Path" >> beam.Create([self._path]) | "Lines" >> beam.FlatMap(read_lines) | beam.Reshuffle()


class WriteLines(beam.PTransform):
    """Writes one file, also where there are no lines: elements in the order of their text."""

    def __init__(self, path: str):
        super().__init__()
        self._path = path

    def expand(self, lines: beam.PCollection) -> beam.PCollection:
        whole = lines | "Gather" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
        return whole | "Write" >> beam.Map(write_lines, self._path)


def read_lines(path: str) -> Iterator[str]:
    """The lines of a UTF-8 file, without their ends."""
    yield from storage.read_bytes(path).decode().split("\n")[:-1]


def write_lines(lines: Iterable[str], path: str) -> None:
    """Writes lines that hold no line ends themselves."""
    storage.write_bytes(path, "".join(f"{line}\n" for line in sorted(lines)).encode())
