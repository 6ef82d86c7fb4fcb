"""The cost of training on this machine: episodes a second and memory of four ways to train one backbone."""
