"""What a transport is fitted on: pictures, latents and folders, met one after another."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from ..models.contracts import PIXEL, Autoencoder, Domain
from ..sampling import autoencode
from ..sampling.statistics import Statistics
from ..sampling.transport import Transport, check_patch, fitted, scarcity
from . import host
from .latents import Latents
from .photo_sets import PhotoSet
from .picture import Picture

Photos = tuple[Sequence[Any], str]
"""IMAGEs and LATENTs, and a folder of more; either may be empty."""


class Gathering:
    """The statistics of restored and of natural photos, all in one space.

    Args:
        patch: side of the patches.
        part: encodes pictures; None takes them as they are.
    """

    def __init__(self, patch: int, part: Autoencoder | None) -> None:
        self.patch, self.part = patch, part
        self._domain: Domain | None = None

    @property
    def domain(self) -> Domain:
        return self._domain or PIXEL

    def transport(self, restored: Photos, natural: Photos, **settings: Any) -> Transport:
        """Fitted on both; too few patches are told.

        Args:
            settings: of the transport.

        Raises:
            ValueError: photos are missing, flat, or do not go together.
        """
        source, target = (self.statistics(*photos) for photos in (restored, natural))
        for what, found in (("restored", source), ("natural", target)):
            if warning := scarcity(found):
                host.tell(f"Of the {what} photos: {warning}")
        name = f"The transport of {source.photos} restored and {target.photos} natural photos"
        both = {"source": source, "target": target}
        return fitted(Transport(name=name, domain=self.domain, **both, **settings))

    def statistics(self, things: Sequence[Any], folder: str) -> Statistics:
        """Of IMAGEs, LATENTs and the photos of a folder.

        Raises:
            ValueError: they are of different spaces, or their patches too large.
        """
        total = None
        for samples in self._samples(things, folder):
            check_patch(self.patch, samples.shape[1])
            if min(samples.shape[-2:]) < self.patch:
                height, width = samples.shape[-2:]
                host.tell(f"A photo of {width} x {height} is left out: it is smaller than a patch.")
                continue
            found = Statistics.of(samples, self.patch)
            total = found if total is None else total + found
        return Statistics.none(self.domain.channels, self.patch) if total is None else total

    def _samples(self, things: Sequence[Any], folder: str) -> Iterator[Tensor]:
        for thing in things:
            if thing is None:
                continue
            if isinstance(thing, dict):
                latents = Latents.of(thing)
                self._agree(latents.domain)
                yield latents.samples
            else:
                yield self._encoded(Picture.of(thing).rgb)
        for photo in PhotoSet.of(folder) if folder else ():
            yield self._encoded(photo)

    def _encoded(self, pictures: Tensor) -> Tensor:
        self._agree(self.part.domain if self.part else PIXEL)
        if self.part is None:
            return pictures
        machine = host.ready(self.part, pictures)
        return autoencode.encode(self.part, pictures, machine=machine)

    def _agree(self, domain: Domain) -> None:
        """Say if photos are of another space than those before."""
        known = self._domain = self._domain or domain
        if (known.name, known.channels) != (domain.name, domain.channels):
            raise ValueError(
                "Restored and natural photos must come in one space; got "
                f"{known.name} and {domain.name}. Encode all of them with one VAE, or none."
            )
        if known.encoder != domain.encoder:
            raise ValueError(
                f"These latents of {known.name} come from different encoders: encode all photos "
                "with one VAE."
            )
