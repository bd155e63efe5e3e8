"""The photos of a folder one after another, for what is learnt from many of them."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import comfy.model_management as mm
import folder_paths
import torch
from torch import Tensor

from ..jobs import photos
from ..jobs.scan import Found, scan
from . import host, jobs


@dataclass(frozen=True)
class PhotoSet:
    """The photos of a folder."""

    root: Path
    files: list[Found]

    @classmethod
    def of(cls, folder: str, limit: int = 0) -> "PhotoSet":
        """Those of a folder that may be read.

        Args:
            folder: below the host's input folder, or a full path in an allowed one.
            limit: the first so many; 0 takes all.

        Raises:
            FolderError: the folder is not allowed.
            PhotoError: it holds no photo, or is not there.
        """
        place = os.path.join(folder_paths.get_input_directory(), folder)
        root = jobs.folders().resolve(os.path.normpath(place))
        files = list(islice(scan(root, photos.SUFFIXES), limit or None))
        if not files:
            raise photos.PhotoError(
                f"The folder {folder or 'input'} holds no photo, or is not there: name another."
            )
        return cls(root, files)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def fingerprint(self) -> str:
        """Another one when a photo is new, changed or gone."""
        told = hashlib.sha256(str(self.root).encode())
        for one in self.files:
            told.update(f"{one.path}\0{one.size}\0{one.mtime_ns}\0".encode())
        return told.hexdigest()

    def __iter__(self) -> Iterator[Tensor]:
        """Each as [1, 3, H, W] in [0, 1]; one is in memory at a time.

        Those that cannot be read are left out, and said to be.
        """
        for number, one in enumerate(self.files, 1):
            mm.throw_exception_if_processing_interrupted()
            try:
                pixels = photos.read(self.root / one.path).pixels
            except (photos.PhotoError, OSError) as error:
                host.tell(f"{one.path} is left out: {error}")
            else:
                yield torch.from_numpy(pixels).movedim(-1, 0)[None]
            host.progress(number, len(self.files))
