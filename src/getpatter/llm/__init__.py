"""Language models, one vendor a file."""
