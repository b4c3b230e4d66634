"""SEEDS for ComfyUI: copy this folder into custom_nodes, and install seeds-sampler into ComfyUI's environment."""

from seeds.integrations.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
