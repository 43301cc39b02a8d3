"""Region features of images and feature maps, one row per box: what the command line runs.

In the order of the work: :mod:`.folders` finds the files of folders, :mod:`.matching` the input that a box of
:mod:`roialign.files.boxes` belongs to, :mod:`.inputs` reads images and feature maps, :mod:`.pipeline` pools them one at
a time, :mod:`.doubts` looks for boxes that are likely a mistake, :mod:`.output` writes the result in one step.

The picture: :mod:`.steps` takes the steps of RoIAlign and RoIPool as the reference does, :mod:`.scene` says what is
shown, :mod:`.panels` draws it with the means of :mod:`.drawing`, :mod:`.plot` puts it together.
"""
