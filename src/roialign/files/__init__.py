"""Readers of images, feature maps, COCO files, box tables and weights, and atomic writes, shared by all applications.

An unusable file raises :class:`FileError`. An unusable row of a file is added to
:class:`~roialign.files.problems.Problems`, and the other rows are read.

:mod:`.images` reads images, and :mod:`.orientation` decides whether to turn them upright. :mod:`.arrays` reads feature
maps, :mod:`.text` text and JSON, :mod:`.coco` and :mod:`.rows` the rows of COCO files, :mod:`.run_lengths` their masks,
:mod:`.boxes` box tables, and :mod:`.weights` checkpoints. :mod:`.kinds` identifies any other file by its first bytes.
:mod:`.doubts` detects boxes that are valid but probably a mistake, and :mod:`.turnings` files read in two ways.

:mod:`.folders` finds the files in folders. :mod:`.writing` writes a file that has either its old or its complete new
content, and :mod:`.drawing` has the colours, lines and labels of pictures.
"""
