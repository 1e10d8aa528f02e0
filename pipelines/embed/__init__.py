"""Embedding on Beam."""
