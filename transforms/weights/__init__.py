"""Published weights of pretrained networks: which there are, where they lie, and how they come here."""
