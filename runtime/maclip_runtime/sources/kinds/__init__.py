"""The kinds of sources: every file of this folder is imported, and registers its addresses with `@source`."""
