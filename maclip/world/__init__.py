"""A drawn world: textured, coloured shapes on varied backgrounds, still (captioned) and moving (named motions).

It exists to try the tool and to test it, nothing more: what a model learns here it knows of this world only.
"""
