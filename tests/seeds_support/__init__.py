"""Runs the code of documents: finds it, gives it a world, drives it."""
