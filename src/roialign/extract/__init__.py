"""The implementation of `roialign extract` without a backbone: region features, one row per box.

The steps are, in order: :mod:`roialign.files.folders` finds the files in folders, :mod:`.matching` finds the input of
each box of :mod:`roialign.files.boxes`, :mod:`.inputs` reads images and feature maps, :mod:`.pipeline` pools them one
at a time, :mod:`roialign.files.doubts` detects boxes that are probably a mistake, and :mod:`.output` writes the
features to the result.

For `--plot`, :mod:`.steps` computes the steps of RoIAlign and RoIPool with the reference, :mod:`.scene` collects the
content, :mod:`.panels` draws each panel with the helpers of :mod:`roialign.files.drawing`, and :mod:`.plot` arranges
the panels.
"""
