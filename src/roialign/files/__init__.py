"""The one way in for files: images, feature maps, COCO files, box tables and weights, for every command and class.

What is wrong with a file raises :class:`FileError`; what is wrong with one row of it goes to a list of
:class:`~roialign.files.problems.Problems`, and the other rows are read.

:mod:`.images` reads images, :mod:`.orientation` decides whether they are turned, :mod:`.arrays` reads feature maps,
:mod:`.text` reads text and JSON, :mod:`.coco` the rows of COCO files, :mod:`.run_lengths` their masks, :mod:`.boxes`
box tables, :mod:`.weights` checkpoints; :mod:`.kinds` says what a file is that is none of these.
"""
