"""The process that runs: terminal, standard error, cores."""
