"""The pack's own socket types; core sockets serve wherever the meaning is equal."""

from comfy_api.latest import io

POSTERIOR_MEAN = io.Custom("POSTERIOR_MEAN")
FLOW = io.Custom("FLOW")
DEGRADATION = io.Custom("DEGRADATION")
PHOTO = io.Custom("PHOTO")
FACES = io.Custom("FACES")
