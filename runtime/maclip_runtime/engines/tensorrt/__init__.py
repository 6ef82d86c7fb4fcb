"""NVIDIA's own engines: find the library, parse and build the bundle's graphs, keep what was built, run it.

Written against the API that TensorRT 10, TensorRT 11 and TensorRT for RTX share. Parsing, building and the cache
are tested with TensorRT for RTX, which needs no GPU for them; running an engine needs one and has not been tried
for want of it, and neither has TensorRT itself.
"""
