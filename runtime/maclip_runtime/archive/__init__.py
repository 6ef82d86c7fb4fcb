"""Recordings as a store that is searched by example: windows are computed once, and found again in seconds.

`packing` makes bytes of features, `videos` tells videos apart, `fragments` are the files, `store` the folder of them,
`view` its windows as one table. `indexing` fills a store, `search` and `happenings` find an action in it, `events`
replays it; `archive` is the Python interface, `strips`, `sheet` and `report` show results.
"""

from maclip_runtime.archive.archive import Archive, Found, Search
from maclip_runtime.archive.indexing import Indexed, Progress
from maclip_runtime.archive.view import Filters

__all__ = ["Archive", "Filters", "Found", "Indexed", "Progress", "Search"]
