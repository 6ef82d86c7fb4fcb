"""One gallery for many machines: a store with a signed index and an entry for each clip, read and written by all.

`keys` signs, `index` is what is signed and how two of them become one, `stores` are HTTP servers and buckets. `journal`
notes in the gallery's file when each clip came and went. `publishing` writes to a store, `following` reads from it.
"""

from maclip_runtime.gallery.sharing.following import Followed, follow
from maclip_runtime.gallery.sharing.keys import make_key
from maclip_runtime.gallery.sharing.publishing import Published, publish

__all__ = ["Followed", "Published", "follow", "make_key", "publish"]
