"""The questions of `benchmarks.gpu_overhead`, in parts: each is a function that takes a `Bench` and gives an answer."""
