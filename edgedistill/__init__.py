"""Distil a large model, quantise it, export it to ONNX for a named device, and prove it there against its teacher."""

from edgedistill.api import bench, build, load_bundle

__all__ = ["bench", "build", "load_bundle"]
