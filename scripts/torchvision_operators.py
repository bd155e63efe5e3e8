"""The two operators that torchvision's published wheel compiles for CUDA builds of torch only.

On a CPU build torchvision looks for them while it is imported and fails. Their schemas alone let it
(and spandrel with it) be imported; calling them stays an error. The environment of run.py installs
this file, if the import fails, as a plug-in that torch calls at the end of its own import.
"""

OPERATORS = ("torchvision::nms", "torchvision::qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def define() -> None:
    """Declare the operators' schemas."""
    import torch

    for name in OPERATORS:
        torch.library.define(name, SCHEMA)
