"""The bundle: opening it, its manifest, its signature."""
