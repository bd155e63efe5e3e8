"""The pack's own socket types; core sockets serve wherever the meaning is equal."""

from comfy_api.latest import io

POSTERIOR_MEAN = io.Custom("POSTERIOR_MEAN")
FLOW = io.Custom("FLOW")
DEGRADATION = io.Custom("DEGRADATION")
PHOTO = io.Custom("PHOTO")
FACES = io.Custom("FACES")
TRANSPORT = io.Custom("TRANSPORT")
FACE_LANDMARKS = io.Custom("FACE_LANDMARKS")
"""The host's own, from 0.23 on; in an older one nothing can be wired to it."""
