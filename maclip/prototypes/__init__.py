"""Modules that turn frame features into class prototypes."""
