"""The benchmarks the README quotes: ours beside the floor and the honest minimum, in one run."""
