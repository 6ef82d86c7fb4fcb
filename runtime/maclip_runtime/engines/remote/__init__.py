"""The network on a server that speaks KServe v2 over gRPC: Triton with what `maclip export --triton` wrote.

`address` reads the --device value, `client` speaks the protocol, `way` decides what is sent, and `engine` is the engine
that falls back to the machine's own one. Matching and the gallery stay on the machine.
"""
