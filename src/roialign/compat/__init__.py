"""Drop-in replacements with the signatures and conventions of torchvision, detectron2, mmcv and ONNX.

Import each module by its name, such as `roialign.compat.torchvision`. All but `roialign.compat.onnx` need torch. None
of them needs the package that it replaces.
"""
