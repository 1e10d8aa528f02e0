"""Records and the files that hold them."""
