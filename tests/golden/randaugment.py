"""Every operation of torchvision's RandAugment at given magnitudes, the reference of src/data/augment/randaugment/tests.rs.

    python tests/golden/randaugment.py     # needs torch, torchvision, safetensors; writes randaugment.safetensors

Images are [height, width, channels] and called `IMAGE/image`; what becomes of them is `IMAGE/OPERATION/BIN/WAY/FILL`, with WAY 1 where
the sign of the magnitude was turned. `magnitudes/BINS/HEIGHT/WIDTH/OPERATION` are the magnitudes of all bins.
"""
import pathlib

import torch
from safetensors.torch import save_file
from torchvision.transforms import InterpolationMode, RandAugment
from torchvision.transforms.autoaugment import _apply_op


def images():
    def noise(height, width, channels):
        at = torch.arange(height * width * channels)
        return ((at * 37 + at * at * 11 + at * at * at * 3) % 256).reshape(height, width, channels)

    # Half of the pixels are dark; a channel of few values; one of a single value.
    dull = noise(24, 26, 3)
    dull[..., 0] = dull[..., 0] ** 2 // 256
    dull[..., 1] = 40 + dull[..., 1] * 5 // 8
    dull[..., 2] = 90
    found = {"rgb": noise(12, 14, 3), "gray": noise(12, 14, 1), "dull": dull, "thin": noise(2, 9, 1)}
    return {name: image.to(torch.uint8) for name, image in found.items()}


def main():
    policy = RandAugment()
    rows = {}
    for name, image in images().items():
        rows[f"{name}/image"] = image.contiguous()
        height, width, channels = image.shape
        for operation, (magnitudes, signed) in policy._augmentation_space(31, (height, width)).items():
            if name == "dull" and operation not in ("AutoContrast", "Equalize"):
                continue
            if name == "thin" and operation != "Sharpness":
                continue
            cases = [(9, 0, 0), (30, 0, 0)] if magnitudes.ndim else [(0, 0, 0)]
            cases += [(9, 1, 0), (30, 1, 77)] if signed else []
            for bin, way, fill in cases:
                magnitude = float(magnitudes[bin]) if magnitudes.ndim else 0.0
                changed = _apply_op(image.permute(2, 0, 1), operation, -magnitude if way else magnitude,
                                    interpolation=InterpolationMode.NEAREST, fill=[float(fill)] * channels if fill else None)
                rows[f"{name}/{operation}/{bin}/{way}/{fill}"] = changed.permute(1, 2, 0).clone(memory_format=torch.contiguous_format)
    for bins, size in [(31, (12, 14)), (31, (224, 331)), (10, (32, 28)), (5, (33, 97))]:
        for operation, (magnitudes, _) in policy._augmentation_space(bins, size).items():
            if magnitudes.ndim:
                rows[f"magnitudes/{bins}/{size[0]}/{size[1]}/{operation}"] = magnitudes.to(torch.float32)
    save_file(rows, pathlib.Path(__file__).with_suffix(".safetensors"))


if __name__ == "__main__":
    main()
