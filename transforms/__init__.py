"""Music, datasets and files: plain functions and data that need neither Beam nor Keras."""
