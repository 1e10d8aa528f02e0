"""Pure functions and plain data types: no Beam, no Keras, each testable with a numpy array in hand."""
