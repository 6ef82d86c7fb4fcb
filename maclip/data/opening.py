"""Open a dataset: a folder for each class, or clips with the split lists of a paper."""

from __future__ import annotations

from pathlib import Path

from maclip.data.dataset import Dataset, open_folders
from maclip.data.split_lists import SplitLists, open_lists


def open_data(root: str | Path, lists: SplitLists | None = None) -> Dataset:
    """The dataset in the folder `root`.

    root: holds a folder of clips for each class, or train/, val/ and test/ with such folders, or `classes.json`.
    lists: public split lists that say which clips are which classes; default: the folders say it.
    Raises what `open_folders` and `open_lists` raise: `data-missing`, `data-empty`, `classes-invalid`, `lists-invalid`,
    `names-invalid`, `clips-missing` and `splits-overlap`.
    """
    if lists is None:
        return open_folders(root)
    return open_lists(Path(root), Path(lists.folder), lists.names, lists.skip_missing)
