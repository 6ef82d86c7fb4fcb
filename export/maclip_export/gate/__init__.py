"""The gate: how an exported bundle is compared with torch before it is written, and on which clips."""
