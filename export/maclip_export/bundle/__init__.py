"""The bundle folder: graphs, vocabulary, text encoder, int8 form, origin and manifest."""
