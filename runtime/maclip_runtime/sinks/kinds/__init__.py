"""The kinds of sinks: every file of this folder is imported, and registers its addresses with `@sink`."""
