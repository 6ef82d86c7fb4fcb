"""The gate: what an export must show against torch before it is written."""
