"""`maclip demo`: generated clips -> train -> evaluate -> export -> enroll -> recognise -> one report.

`plan` says what is done, `folder` where it goes; `study` trains and evaluates the rows of each family, `device_part`
does what a device does with the exported bundle, `report` and `words` show what came of it, `director` calls them.
"""
