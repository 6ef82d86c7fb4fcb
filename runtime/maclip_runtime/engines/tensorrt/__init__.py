"""TensorRT engines: `library` finds TensorRT, `builder` builds a graph's engine for the sizes of a `profile`, `cache`
keeps it, `engines` finds or builds those of a bundle, `runner` runs them with `cuda`.

Written against the API that TensorRT 10, TensorRT 11 and TensorRT for RTX share. Parsing, building and the cache are
tested with TensorRT for RTX, which needs no GPU for them. Running an engine on a GPU, and TensorRT itself, are
untested.
"""
