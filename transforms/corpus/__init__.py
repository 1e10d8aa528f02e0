"""An FMA-shaped synthetic corpus: sounds of nine genres, csv tables, broken files. Made for the demo and the tests."""
