"""How a trained model fares on untrimmed video: what happens is found or not, and strangers pass or not.

The PyTorch model takes the place of a bundle's graphs; windows, galleries, limits and decisions are the device's own
code. `scoring` compares events with what happened, `open_set` whole clips with strangers, `encoder` wraps the model,
`galleries` draws what is enrolled and watched, `api` does it all, `record` keeps and compares the figures.
"""
