"""The feature kinds: one file and one row of `KINDS` each."""

from transforms.features import mel, raw, stats
from transforms.features.kind import FeatureKind

KINDS: dict[str, FeatureKind] = {kind.name: kind for kind in (mel.KIND, raw.KIND, stats.KIND)}
