"""Tools around recognition: doctor and benchmarks."""
