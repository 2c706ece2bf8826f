"""Positions of frames in a text file that may still be written."""

from __future__ import annotations

import numpy as np

from ptycho_dist.data.formats.text_positions import read_positions, split_positions_file
from ptycho_dist.errors import DataFormatError
from ptycho_dist.live.stream_messages import METRES, PositionsOf


class PositionsFile:
    """A text file of positions, read again where it has changed.

    Parameters
    ----------
    name
        The file, with the columns to take, as ``data.positions_file`` names them; it need not be there yet.
    """

    def __init__(self, name: str) -> None:
        self._name, self._path = name, split_positions_file(name)[0]
        self._state: tuple[int, int] | None = None
        self.trouble = f"{self._path} to appear"

    def read(self, frames: list[int]) -> PositionsOf | None:
        """Return the positions that are there; None where nothing is new, or the file cannot be read yet.

        Parameters
        ----------
        frames
            Numbers of frames that came: where one has the number 0, and the file counts from 1, so do not they.
        """
        try:
            now = self._path.stat()
            state = (now.st_size, now.st_mtime_ns)
            if state == self._state:
                return None
            found = read_positions(self._name)
        except (FileNotFoundError, DataFormatError) as error:
            self.trouble = str(error)
            return None
        self._state, self.trouble = state, f"more lines in {self._path}"
        numbers = np.arange(len(found.values_m)) if found.numbers is None else found.numbers
        if found.numbers is not None and int(numbers[0]) == 1 and 0 in frames:
            numbers = numbers - 1
        return PositionsOf(tuple(numbers.tolist()), found.values_m, METRES)
