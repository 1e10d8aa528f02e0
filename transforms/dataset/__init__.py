"""A dataset: its manifest, ledgers and shards, and how they are built, changed and checked."""
