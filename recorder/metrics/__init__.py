"""The numbers of a step, computed on the device that holds the latents, and what follows from them on the host."""
