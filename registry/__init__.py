"""Loads the nodes of ltxtui into ComfyUI, or says in one line what to install."""

import logging
import sys

RECORD_ALL = False  # True: every LTX sampling is recorded, without a node in the graph

NODE_CLASS_MAPPINGS: dict[str, type] = {}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {}
try:
    from recorder.runners.comfyui.nodes import load
except Exception as error:  # noqa: BLE001 - ComfyUI must start
    logging.getLogger("ltxtui").warning(
        "ltxtui: nothing is recorded (%s: %s); install it where ComfyUI runs with: %s -m pip install ltxtui",
        type(error).__name__,
        error,
        sys.executable,
    )
else:
    NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS = load(RECORD_ALL)
