"""The version, for files that record it."""

__version__ = "0.2.0"
