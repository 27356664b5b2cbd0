"""How a published data set lies on disk, and how its file names become samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rlqkit.data.imageset import RetrievalTest
from rlqkit.errors import RlqkitError

JUNK = 0
"""Identities below this are nobody (detector errors, distractors): such images are left out."""


@dataclass(frozen=True)
class Name:
    """What a file's name (and the folder it lies in) says.

    Attributes:
        identity: as the data set numbers people; below 0 = junk.
        camera: as the data set numbers cameras.
        outfit: the outfit's name within the identity; "" if nobody labelled it.
        split: overrules that of the part, for folders that hold more than one split.
    """

    identity: int
    camera: int
    outfit: str = ""
    split: str = ""


@dataclass(frozen=True)
class Part:
    """One folder of images.

    Attributes:
        folder: relative to the data set's folder.
        split: the split that its images belong to.
        listing: text file beside it that lists its images; "" = the folder's contents count.
        optional: whether the data set is usable without it.
    """

    folder: str
    split: str
    listing: str = ""
    optional: bool = False


@dataclass(frozen=True)
class Layout:
    """A published data set.

    Attributes:
        name: as ``data.dataset`` gives it, a key of ``LAYOUTS``.
        title: as papers write it; published label files start with it.
        holders: folder names that its archive unpacks into.
        parts: its folders of images.
        naming: how images are named, for errors.
        parse: (part, path inside it, tracklet or "") -> Name; None if the name is malformed.
        tests: what its papers report, headline last.
        running_camera: every image is its own camera, so that no match is ever dropped.
        numbered_apart: train and test number their people independently of each other.
        external: the training images serve as external set too.
    """

    name: str
    title: str
    holders: tuple[str, ...]
    parts: tuple[Part, ...]
    naming: str
    parse: Callable[[Part, str, str], Name | None]
    tests: tuple[RetrievalTest, ...]
    running_camera: bool = False
    numbered_apart: bool = False
    external: bool = False

    def find(self, root: Path) -> Path:
        """The folder that holds the parts: `root` itself, or one of `holders` in it.

        Raises:
            RlqkitError: neither is there; or a part is missing, which is named.
        """
        expected = ", ".join(part.folder for part in self.parts)
        if not root.is_dir():
            raise RlqkitError(
                f"{self.title} isn't at {root}: give its folder (--root or data.root), or set "
                f"RLQKIT_DATA to the folder that holds {self.name}/; docs/datasets/{self.name}.md "
                "says how to get it"
            )
        places = [root, *(root / holder for holder in self.holders)]
        found = max(places, key=lambda place: sum(self._present(place)))
        if not any(self._present(found)):
            raise RlqkitError(
                f"{root} holds no {self.title}: expected the folders {expected} in it, or in "
                f"{' or '.join(self.holders)}; see docs/datasets/{self.name}.md"
            )
        for part, there in zip(self.parts, self._present(found), strict=True):
            if not there and not part.optional:
                raise RlqkitError(
                    f"{self.title}: folder {found / part.folder} is missing: unpack the whole "
                    f"archive, which has {expected}"
                )
        return found

    def _present(self, place: Path) -> list[bool]:
        return [(place / part.folder).is_dir() for part in self.parts]

    def samples(
        self, part: Part, files: Iterable[tuple[str, str]], root: Path
    ) -> list[tuple[str, str, str, int, int, str]]:
        """Rows (file, part's folder, split, identity, camera, outfit) of a part.

        Args:
            part: the part.
            files: path inside the part and tracklet ("" where there are none).
            root: for errors.

        Raises:
            RlqkitError: an image's name isn't the data set's.
        """
        rows = []
        for inner, tracklet in files:
            name = self.parse(part, inner, tracklet)
            if name is None:
                raise RlqkitError(
                    f"{self.title}: {root / part.folder / inner} isn't named {self.naming}: "
                    "rename it, or move it out of the data set"
                )
            file = f"{part.folder}/{inner}"
            split = name.split or part.split
            rows.append((file, part.folder, split, name.identity, name.camera, name.outfit))
        return rows
