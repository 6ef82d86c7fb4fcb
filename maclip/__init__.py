"""MA-CLIP: light adapters on a frozen CLIP that learn actions from a handful of clips."""
