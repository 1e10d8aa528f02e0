"""The commands of `fma` that train, score and serve: `fma X` is `commands/X.py`."""
