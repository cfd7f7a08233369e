"""Images changed by torchvision with given parameters, the reference of src/data/augment/tests.rs.

    python tests/golden/augment.py     # needs torch, torchvision; writes augment.json
"""
import json
import pathlib

import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F


def main():
    image = torch.tensor([(at * 37 + at * at * 11) % 256 for at in range(3 * 6 * 7)],
                         dtype=torch.uint8).reshape(6, 7, 3).permute(2, 0, 1).contiguous()
    bilinear = InterpolationMode.BILINEAR
    changed = {
        "rotate 0": F.rotate(image, 0, bilinear),
        "rotate 30": F.rotate(image, 30, bilinear),
        "rotate -75.5": F.rotate(image, -75.5, bilinear),
        "rotate 180": F.rotate(image, 180, bilinear),
        "brightness 0.5": F.adjust_brightness(image, 0.5),
        "brightness 1.7": F.adjust_brightness(image, 1.7),
        "contrast 0.4": F.adjust_contrast(image, 0.4),
        "contrast 1.9": F.adjust_contrast(image, 1.9),
        "saturation 0": F.adjust_saturation(image, 0),
        "saturation 1.6": F.adjust_saturation(image, 1.6),
        "hue 0.25": F.adjust_hue(image, 0.25),
        "hue -0.4": F.adjust_hue(image, -0.4),
    }
    # The parts and sizes that the test has.
    part = (1, 2, 5, 4)
    for height, width in [(3, 2), (5, 4), (9, 8)]:
        changed[f"resize {height}"] = F.resized_crop(image, *part, [height, width], antialias=True)
    changed["crop 0"] = F.crop(image, -1, 2, 4, 7)
    changed["middle 0"] = F.center_crop(image, [3, 4])
    rows = {name: it.permute(1, 2, 0).flatten().tolist() for name, it in changed.items()}
    rows["image"] = image.permute(1, 2, 0).flatten().tolist()
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(rows, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
