"""A drawn world: textured, coloured shapes on varied backgrounds, still (captioned) and moving (named motions).

It exists to try out and test maclip. What a model learns here says nothing about real video.
"""
