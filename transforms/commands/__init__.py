"""The commands of `fma` that need neither Beam nor Keras: `fma X` is `commands/X.py`."""
