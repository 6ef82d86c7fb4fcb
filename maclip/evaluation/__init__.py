"""Few-shot evaluation: accuracy, records, and what is chosen on validation classes."""
