"""The bundle, a directory of graphs that `maclip export` writes and a device reads.

`manifest` describes it, `schema` reads such descriptions from JSON, `names` reads its vocabulary, `opening` checks
every file, `signing` signs and verifies it.
"""
