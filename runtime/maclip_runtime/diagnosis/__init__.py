"""Which clips of a gallery harm it, which classes are confused, and what one clip more would bring.

`samples` reads the clips, `leaving_out` measures, `evidence` and `curve` sum up, `rules` decide, `findings` say it.
"""
