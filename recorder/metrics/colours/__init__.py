"""True colours of previews: a linear map from latents to colours, fitted to clips that a pipeline decoded."""
