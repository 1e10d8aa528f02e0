"""Frozen encoders as files: what they hear and give, and how they are loaded without the code that built them."""
