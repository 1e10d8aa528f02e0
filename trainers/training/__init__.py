"""Training of the Keras models."""
