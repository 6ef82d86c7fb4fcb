"""The cost of training on this machine: episodes a second and memory of five ways to train one backbone."""
