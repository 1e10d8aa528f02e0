"""Frozen encoders of our own, built in Keras: windows of a dataset in, named outputs at each position of them out."""
