"""Limits: the distance above which the answer is "unknown", and what that costs.

`measured` finds one limit on the gallery's own clips, `calibrate` one for each class against background video;
`intervals` says how sure the figures are, `figure` draws them.
"""
