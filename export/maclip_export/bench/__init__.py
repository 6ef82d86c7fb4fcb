"""How fast a model is on this machine: torch and every bundle in one run, against the machine's own products."""
