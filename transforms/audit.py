"""The leak audit: everything that is known to stand on both sides of a split."""

from transforms.fingerprint import has_bands
from transforms.leaks import Leak, find_leaks
from transforms.manifest import Manifest, read_ledger
from transforms.near_duplicates import find_near_duplicates


def audit(dataset: str, manifest: Manifest) -> list[Leak]:
    """Artists, albums, equal audio and, where there are mel records, near-duplicate recordings.

    Args:
      dataset: path.
      manifest: its manifest.

    Raises:
      FmaError: a file of the dataset is damaged.
    """
    leaks = find_leaks(read_ledger(dataset, manifest, "tracks"))
    return leaks if unsought(manifest) else leaks + find_near_duplicates(dataset, manifest)


def unsought(manifest: Manifest) -> tuple[str, ...]:
    """Kinds of leaks that cannot be found in this dataset: near duplicates take mel records with enough bands."""
    config = manifest.config
    return () if "mel" in config.features and has_bands(config.n_mels) else ("recording",)
