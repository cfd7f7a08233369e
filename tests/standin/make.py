"""Files in the forms of CIFAR-10's archive and of torchvision's weights, for a run of
pipelines/finetune-cifar10.toml where their own sites are out of reach.

    python tests/standin/make.py FOLDER        # needs torch and torchvision

writes cifar-10-binary.tar.gz (coloured squares, a hue for each class, so that there is something to
learn) and resnet18.pth (fresh weights), and prints the command that uses them.
"""
import colorsys
import io
import pathlib
import random
import sys
import tarfile

import torch
import torchvision

NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def record(label, draw):
    """One image: noise with a square whose hue says the class."""
    pixels = [[draw.randrange(256) // 4 for _ in range(1024)] for _ in range(3)]
    colour = colorsys.hsv_to_rgb(label / 10, 0.8, 0.9)
    top, left, side = draw.randrange(12), draw.randrange(12), 12 + draw.randrange(8)
    for y in range(top, top + side):
        for x in range(left, left + side):
            for plane, value in zip(pixels, colour):
                plane[y * 32 + x] = int(255 * value)
    return bytes([label]) + b"".join(bytes(plane) for plane in pixels)


def archive(path, each=40):
    draw = random.Random(0)
    files = {f"data_batch_{number}.bin": each for number in range(1, 6)}
    files["test_batch.bin"] = 2 * each
    with tarfile.open(path, "w:gz") as tar:
        def add(name, content):
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        add("batches.meta.txt", ("\n".join(NAMES) + "\n").encode())
        for name, count in files.items():
            add(name, b"".join(record(at % 10, draw) for at in range(count)))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    archive(folder / "cifar-10-binary.tar.gz")
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), folder / "resnet18.pth")
    print("runner run pipelines/finetune-cifar10.toml \\\n"
          f"  --set 'stages.cifar={{ kind=\"download\", format=\"cifar\", "
          f"source=\"file:{folder}/cifar-10-binary.tar.gz\" }}' \\\n"
          f"  --set 'stages.imagenet={{ kind=\"download\", format=\"weights\", "
          f"source=\"file:{folder}/resnet18.pth\", "
          "model={ arch=\"resnet18\", classes=1000 } }'")


if __name__ == "__main__":
    main()
