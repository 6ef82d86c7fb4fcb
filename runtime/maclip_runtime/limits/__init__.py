"""Limits: the distance above which the answer is "unknown", and what that costs.

`measured` finds one on the gallery's own clips, `calibrate` one for each class, on `background` video cut into
windows; `intervals` says how sure the figures are, `figure` draws them.
"""
