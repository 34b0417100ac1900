"""The questions of `benchmarks.gpu_overhead`, by topic: each is a function from a `Bench` to an answer."""
