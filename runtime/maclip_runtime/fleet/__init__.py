"""Independent shares of one work, done in this process or by the workers of a Ray cluster, with the same results.

`shares` is the idea and does the work here; `cluster` hands it to Ray.
"""

from maclip_runtime.fleet.shares import HERE, Fleet, Here, Job, checked, in_order, open_fleet

__all__ = ["HERE", "Fleet", "Here", "Job", "checked", "in_order", "open_fleet"]
