"""Programs that run inside a real ComfyUI, named by `LTXTUI_COMFYUI`; see `test_real.py`."""
