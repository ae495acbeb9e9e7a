"""Hugging Face's ``datasets``: rows of an image and its label map, through the library (``pip install 'maskloop[huggingface]'``).

    data/train-00000-of-00001.parquet    image, mask, classes, maskloop; also train.parquet, or any .parquet alone
    dataset_info.json, state.json        what ``save_to_disk`` leaves; dataset_dict.json where it has parts
    metadata.jsonl (or .csv)             an imagefolder: file_name and mask_file_name, in the folder or in one a part
    labels.json                          ours: the classes, the part's name, the dataset's attributes

Read: the picture column that is called ``image`` and the one that is called ``mask``, ``annotation``, ``label``, ...; other
names are an error that lists them, and ``--image-column`` and ``--mask-column`` say which. Pictures are never decoded by the
library: masks keep their numbers. Classes are those of a list beside (labels.json, id2label.json), else of a list of
``ClassLabel`` among the columns, else class 0..n. Plain values of other columns are attributes of the sample.

Written: ``image`` and ``mask`` (a grey label map of the labels' ids), ``classes`` (which of them it shows, as ``ClassLabel``s,
whose names so stand in the features), and ``maskloop``, a text with all that a label map has no place for.
"""

from __future__ import annotations

from .reader import detect, read, splits
from .writer import opening, write

__all__ = ["detect", "opening", "read", "splits", "write"]
