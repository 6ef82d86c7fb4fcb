"""Other servers' and engines' formats."""
