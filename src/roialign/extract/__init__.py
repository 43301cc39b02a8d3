"""Region features of images and feature maps, one row per box: what the command line runs.

In the order of the work: :mod:`.boxes` reads box files, :mod:`.matching` finds the input that a box belongs to,
:mod:`.inputs` reads images and feature maps, :mod:`.pipeline` pools them one at a time, :mod:`.output` writes the
result in one step; :mod:`.problems` collects what could not be done.

The picture: :mod:`.steps` takes the steps of RoIAlign and RoIPool as the reference does, :mod:`.scene` says what is
shown, :mod:`.panels` draws it with the means of :mod:`.drawing`, :mod:`.plot` puts it together.

The command line: :mod:`.app` with its :mod:`.options`, :mod:`.tables` and :mod:`.info`.
"""
