"""Classical baselines: scikit-learn pipelines on one row of numbers for each track."""
