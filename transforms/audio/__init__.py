"""One track: its bytes in, its records out."""
