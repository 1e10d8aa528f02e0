"""Keras and scikit-learn trainers that read what ingestion wrote."""
