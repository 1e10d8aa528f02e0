"""Ingestion on Beam."""
