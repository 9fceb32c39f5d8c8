"""The eight shifts of the microworld as corruptions of any dataset: each image's corruption is a function of its id alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from components.types import Dataset, Examples, Run, revision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]


@runtime_checkable
class Corruption(Protocol):
    """A frozen dataclass that maps an image uint8 [H, W, 3] and 64 bits of randomness to an image of the same shape."""

    name: ClassVar[str]

    def __call__(self, image: Pixels, seed: int) -> Pixels:
        """The corrupted image."""


@revision(1)
@dataclass(frozen=True)
class Corrupted(Dataset):
    """The same examples, ids and labels, each image corrupted; its randomness comes from (corruption, example id), never from order."""

    data: Dataset
    corruption: Corruption

    def open(self, run: Run) -> Examples:
        from dataclasses import replace

        from components.data import chance, examples

        clean = examples.rows(self.data.open(run))
        corruption = self.corruption
        kind = [type(corruption).__name__, getattr(corruption, "__revision__", 1), asdict(corruption)]  # type: ignore[call-overload]
        pixels = examples.Changed(clean.pixels, clean.ids, lambda image, name: corruption(image, chance.seed(f"{corruption.name}/{name}")))
        return replace(clean, pixels=pixels, digest=examples.combined(clean.digest, "corrupted", kind))

    def parts(self) -> Sequence[tuple[Any, float, float]]:
        return self.data.parts()


@revision(1)
@dataclass(frozen=True)
class Invert(Corruption):
    """The negative: 255 - x."""

    name: ClassVar[str] = "invert"

    def __call__(self, image: Pixels, seed: int) -> Pixels:
        return 255 - image


@revision(1)
@dataclass(frozen=True)
class Noise(Corruption):
    """Gaussian noise; severity is its standard deviation as a share of the full range."""

    severity: float = 0.25
    name: ClassVar[str] = "noise"

    def __call__(self, image: Pixels, seed: int) -> Pixels:
        import numpy as np

        normal = np.random.Generator(np.random.Philox(key=seed)).standard_normal(image.shape, dtype=np.float32)
        return _bytes(image + 255 * self.severity * normal)


@revision(1)
@dataclass(frozen=True)
class Rotate(Corruption):
    """Turned about the centre, counter-clockwise, bilinear, black outside; severity in degrees."""

    severity: float = 45.0
    name: ClassVar[str] = "45 degrees"

    def __call__(self, image: Pixels, seed: int) -> Pixels:
        import numpy as np
        from PIL import Image

        return np.asarray(Image.fromarray(image).rotate(self.severity, Image.Resampling.BILINEAR))


@revision(1)
@dataclass(frozen=True)
class Colour(Corruption):
    """Brightness redrawn between two random colours, dark to light; severity is the share of the new image."""

    severity: float = 1.0
    name: ClassVar[str] = "colour"

    def __call__(self, image: Pixels, seed: int) -> Pixels:
        import numpy as np

        from components.data import chance

        draw = chance.uniform(seed, np.arange(6)).astype(np.float32)
        dark, light = 127 * draw[:3], 255 - 127 * draw[3:]
        brightness = image.mean(axis=2, dtype=np.float32, keepdims=True) / 255
        return _bytes((1 - self.severity) * image + self.severity * (dark + (light - dark) * brightness))


@revision(1)
@dataclass(frozen=True)
class Texture(Corruption):
    """A grating of random direction and period shines through where the image is dark (screen blend); severity is its brightness."""

    severity: float = 0.6
    name: ClassVar[str] = "texture"

    def __call__(self, image: Pixels, seed: int) -> Pixels:
        import numpy as np

        from components.data import chance

        angle, period, phase = chance.uniform(seed, np.arange(3))
        height, width = image.shape[:2]
        y, x = np.mgrid[:height, :width].astype(np.float32) / max(height, width)
        wave = np.sin(2 * np.pi * ((4 + 6 * period) * (x * np.cos(np.pi * angle) + y * np.sin(np.pi * angle)) + phase))
        grating = self.severity * (0.5 + 0.5 * wave[..., None])
        return _bytes(image + (255 - image.astype(np.float32)) * grating)


@revision(1)
@dataclass(frozen=True)
class Scale(Corruption):
    """The whole image shrunk (bilinear) in the middle of a black one; severity is the factor."""

    severity: float = 0.5
    name: ClassVar[str] = "scale"

    def __call__(self, image: Pixels, seed: int) -> Pixels:
        import numpy as np
        from PIL import Image

        height, width = (max(1, round(side * self.severity)) for side in image.shape[:2])
        if height >= image.shape[0]:
            return image
        small = np.zeros_like(image)
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        shrunk = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        small[top : top + height, left : left + width] = np.asarray(shrunk)
        return small


@revision(1)
@dataclass(frozen=True)
class LowContrast(Corruption):
    """Each channel drawn towards its mean; severity is the share of contrast that is lost."""

    severity: float = 0.7
    name: ClassVar[str] = "low contrast"

    def __call__(self, image: Pixels, seed: int) -> Pixels:
        import numpy as np

        mean = image.mean(axis=(0, 1), dtype=np.float32, keepdims=True)
        return _bytes(mean + (1 - self.severity) * (image - mean))


@revision(1)
@dataclass(frozen=True)
class Occlusion(Corruption):
    """A grey rectangle at a random place; severity is its side as a share of the image's."""

    severity: float = 0.4
    name: ClassVar[str] = "occlusion"

    def __call__(self, image: Pixels, seed: int) -> Pixels:
        import numpy as np

        from components.data import chance

        draw = chance.uniform(seed, np.arange(2))
        sides = [min(side, max(1, round(side * self.severity))) for side in image.shape[:2]]
        top, left = (int(u * (side - hidden + 1)) for u, side, hidden in zip(draw, image.shape, sides, strict=False))
        covered = image.copy()
        covered[top : top + sides[0], left : left + sides[1]] = 127
        return covered


def _bytes(values: Any) -> Pixels:
    import numpy as np

    rounded: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


SHIFTS: tuple[Corruption, ...] = (Invert(), Noise(), Rotate(), Colour(), Texture(), Scale(), LowContrast(), Occlusion())
