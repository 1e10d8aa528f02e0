"""`fma report`: one self-contained page that compares runs on the same test tracks."""
