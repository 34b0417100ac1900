"""Records the LTX samplings of ComfyUI, and shocks them, through the hooks that ComfyUI has for custom nodes.

Runs inside ComfyUI's process. ComfyUI's own modules are imported in `host` only, and only there.
"""
