"""The commands of `fma` that run on Beam: `fma X` is `commands/X.py`."""
