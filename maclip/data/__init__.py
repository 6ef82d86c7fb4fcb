"""Datasets, episodes, and everything that reads or caches a clip."""
