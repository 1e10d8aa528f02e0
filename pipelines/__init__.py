"""Beam wiring around the functions in transforms."""
