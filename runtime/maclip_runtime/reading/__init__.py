"""Reading clips.

`formats` lists what pictures and videos are; `clip` reads a whole clip through `video` or `pictures`; `frames` samples,
resizes and crops; `quality` judges clips that are to be enrolled.
"""
