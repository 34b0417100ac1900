"""Records Lightricks' own ltx-pipelines, by wrapping the denoiser that each of its loops calls."""
