"""Records programs other than diffusers pipelines: a chain of evaluations, and adapters that use it."""
