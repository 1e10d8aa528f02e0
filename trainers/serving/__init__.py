"""From a song file to its genre, with the same transforms as in training: predict, export, serve."""
