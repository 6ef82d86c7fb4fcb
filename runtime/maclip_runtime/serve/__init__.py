"""`maclip-run serve`: a page and an API for the people who teach. Needs the extra `serve`.

`studio` runs the watch and holds what the page shows: `film` (the last pictures of each source), `board` (answers and
events), `windows` (what can be reviewed), `clips` and `teaching` (new clips), `why` (explanations), `shelf` (the
gallery), `jobs`. `access` and `guard` keep strangers out, `api` has the endpoints, `page` the browser's part.
"""
