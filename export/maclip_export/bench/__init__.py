"""The speed of a model on this machine: torch and every bundle in one run, relative to the machine's own products."""
