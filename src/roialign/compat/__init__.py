"""Other people's signatures and conventions, translated: `roialign.compat.torchvision`, `detectron2`, `mmcv`, `onnx`.

Each module is imported by itself and needs torch where the users of that package have it; none needs the package.
"""
