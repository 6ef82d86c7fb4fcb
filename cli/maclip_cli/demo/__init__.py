"""`maclip demo`: generate clips, train, evaluate, export, enroll, recognise, and write a report.

`director` runs the demo. `plan` is its configuration, `folder` its output. `study` and `rows` train and evaluate,
`device_part` uses the exported bundle as a device does, `report` and `words` present the results.
"""
