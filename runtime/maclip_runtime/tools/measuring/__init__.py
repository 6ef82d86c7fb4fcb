"""The measuring kit of all benchmarks: machine facts, memory, child processes, turns, spreads, and what is written.

It never imports torch. Nothing heavy is imported here: a cold start is measured in a child that begins with this
package.
"""
