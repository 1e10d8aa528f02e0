"""What there is to ingest: metadata, and where each track's bytes lie."""
