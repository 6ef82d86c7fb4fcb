"""The endpoints, by what they are for; `bodies` are what they are sent, `faults` what they say where they refuse."""
