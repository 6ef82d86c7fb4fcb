"""Few-shot accuracy, and its record."""
