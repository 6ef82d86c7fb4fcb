"""What recognition costs on this machine: stages of a step, cold start, memory, growth. `maclip-run bench` prints it.

Every figure is taken in a fresh process (`measuring.child`), from the same calls that recognition itself makes. Begin
with `plan.run_bench`, which gives a `result.Bench`.
"""
