"""Known weights: which there are, who publishes them and where they lie on this machine.

huggingface_hub tells where the Hub is, with which token to ask it and what it states of a file.
Nothing here opens a connection but `stated`.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SETTING = "RESTOREFLOW_FETCH"
"""The environment variable that lets the pack fetch (`auto`, as without it) or not (`never`)."""


@dataclass(frozen=True)
class Stated:
    """What a source states of a file before a byte of it is read; None where it does not."""

    url: str
    identity: str | None
    """The same as long as the bytes are the same."""
    size: int | None = None
    sha256: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class Hub:
    """A file in a repository of the Hugging Face Hub, or of the mirror that HF_ENDPOINT names."""

    repo: str
    file: str
    revision: str = "main"

    def url(self, revision: str | None = None) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repo, self.file, revision=revision or self.revision)

    def headers(self) -> dict[str, str]:
        """The user's own token, where there is one; never a widget's."""
        from huggingface_hub.utils import build_hf_headers

        return build_hf_headers()

    def stated(self) -> Stated:
        """Ask the Hub; raises what its library raises: errors of requests, httpx or httpx2."""
        from huggingface_hub import constants, get_hf_file_metadata

        told = get_hf_file_metadata(self.url(), timeout=constants.HF_HUB_ETAG_TIMEOUT)
        if not (told.commit_hash and told.etag):
            return Stated(self.url(), None)
        sha256 = told.etag if re.fullmatch("[0-9a-f]{64}", told.etag) else None
        # The commit is pinned, so that the bytes are those of this statement.
        url = self.url(told.commit_hash)
        return Stated(url, told.etag, told.size, sha256, told.commit_hash)

    def cached(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(self.repo, self.file, revision=self.revision)
        return Path(path) if isinstance(path, str) else None


@dataclass(frozen=True)
class Release:
    """A file of a GitHub release; GitHub states no digest where it serves the file."""

    address: str

    def url(self) -> str:
        return self.address

    def headers(self) -> dict[str, str]:
        return {}

    def stated(self) -> Stated:
        return Stated(self.address, self.address)

    def cached(self) -> None:
        return None


@dataclass(frozen=True)
class Known:
    """A published weight file that the pack can fetch."""

    name: str
    """The file it becomes in the pack's model folder, and `properties.models` of workflows."""
    source: Hub | Release
    size: int
    """Bytes, for the user; the Hub's own figure counts where it states one."""
    sha256: str | None
    licence: str
    holds: str
    exact: bool = True
    """Whether `size` is known to the byte; an estimate is for the user only."""
    is_offered: bool = True
    """Whether loaders list it; another is what one node works with."""

    @property
    def label(self) -> str:
        return f"{self.name} ({self._about}{self.size / 1e6:,.0f} MB)"

    @property
    def _about(self) -> str:
        return "" if self.exact else "about "

    def by_hand(self, why: str, folder: Path) -> str:
        """The sentence that lets a user without network bring the file."""
        digest = f", sha256 {self.sha256}" if self.sha256 else ""
        return (
            f"{self.name} is not on this machine and {why}; to bring it by hand, save "
            f"{self.source.url()} ({self._about}{self.size} bytes{digest}) as {folder / self.name}."
        )


KNOWN = (
    Known(
        name="pmrf-face-512.safetensors",
        source=Hub("ohayonguy/PMRF_blind_face_image_restoration", "model.safetensors"),
        size=922_855_508,
        sha256=None,
        licence="MIT",
        holds="PMRF's posterior mean and flow for blind face restoration at 512 px",
    ),
    *(
        Known(
            name=f"elir_{task}.pth",
            source=Release(
                f"https://github.com/eladc-git/ELIR/releases/download/v1.0/elir_{task}.pth"
            ),
            size=4 * parameters,
            sha256=None,
            licence="Apache-2.0",
            holds=f"ELIR's autoencoder, posterior mean and flow for {purpose}",
            exact=False,
        )
        for task, parameters, purpose in (
            ("bfr", 37_518_771, "blind face restoration at 512 px"),
            ("sr", 26_893_747, "faces at 256 px, enlarged 8 times by nearest pixels"),
            ("denoising", 26_893_747, "noisy faces at 256 px"),
            ("inpainting", 26_893_747, "faces at 256 px of which a tenth of the pixels is left"),
            ("bsr", 19_083_923, "blind super-resolution of photos, enlarged 4 times before"),
        )
    ),
    Known(
        name="taesd3.safetensors",
        source=Hub("madebyollin/taesd3", "diffusion_pytorch_model.safetensors"),
        size=9_800_000,
        sha256=None,
        licence="MIT",
        holds="TAESD3, a tiny autoencoder in the latents of Stable Diffusion 3",
        exact=False,
    ),
    Known(
        name="face_detection_yunet_2023mar.onnx",
        source=Hub("opencv/face_detection_yunet", "face_detection_yunet_2023mar.onnx"),
        size=232_589,
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        licence="MIT",
        holds="YuNet, which finds faces and five points of each",
        is_offered=False,
    ),
)


def named(value: str) -> Known | None:
    """The known weight that a combo value means, whatever folder another machine had it in."""
    name = value.replace("\\", "/").rsplit("/", 1)[-1]
    return next((known for known in KNOWN if known.name == name), None)


def find(known: Known, roots: Iterable[Path | str]) -> Path | None:
    """The file in one of the model folders, however deep, else in the Hub's cache."""
    for root in roots:
        for folder, _, files in os.walk(root, followlinks=True):  # as ComfyUI walks them
            if known.name in files:
                return Path(folder, known.name)
    return known.source.cached()


def forbidden() -> str | None:
    """What forbids fetching on this machine; None where nothing does."""
    from huggingface_hub import constants

    setting = os.environ.get(SETTING, "auto")
    if setting != "auto":
        return f"{SETTING}={setting} forbids fetching it"
    return "HF_HUB_OFFLINE forbids fetching it" if constants.HF_HUB_OFFLINE else None
