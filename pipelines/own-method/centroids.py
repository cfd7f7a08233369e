"""Nearest class centroid, with each domain centred on its own mean: a small method of domain adaptation that needs nothing
but Python.

The features of an image are the strengths of its horizontal and vertical edges on a grid of 14 by 14, which depend less on
colours than pixels do. The mean of a domain is taken from its features, which needs no labels; with `--centre source` the
target is centred on the mean of the source instead, which adapts to nothing. An image is of the class whose centroid, the mean
of its source images, is nearest by direction.

It shows what a program of `kind = "command"` finds and makes; see docs/commands.md.
"""
import argparse
import array
import ast
import pathlib
import random
import struct

SIDE = 14
SHARPNESS = 10.0


def read_npy(path):
    """The shape and the numbers of a `.npy` file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<H", data[8:10])
    header = ast.literal_eval(data[10:10 + length].decode())
    numbers = array.array({"|u1": "B", "<i8": "q"}[header["descr"]])
    numbers.frombytes(data[10 + length:])
    return header["shape"], numbers


def write_npy(path, rows):
    """Writes rows of numbers as float32."""
    numbers = array.array("f", (number for row in rows for number in row))
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(rows)}, {len(rows[0])}), }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        numbers.tofile(file)


def features(pixels, height, width, channels):
    """The strengths of the edges of an image, first the horizontal differences and then the vertical ones."""
    gray = [sum(pixels[at * channels:(at + 1) * channels]) for at in range(height * width)]
    row, column = height // SIDE, width // SIDE
    small = [
        [
            sum(sum(gray[(y * row + dy) * width + x * column:][:column]) for dy in range(row))
            for x in range(SIDE)
        ]
        for y in range(SIDE)
    ]
    across, down = [], []
    for y in range(SIDE):
        above, here, below = small[max(y - 1, 0)], small[y], small[min(y + 1, SIDE - 1)]
        for x in range(SIDE):
            across.append(abs(here[min(x + 1, SIDE - 1)] - here[max(x - 1, 0)]))
            down.append(abs(below[x] - above[x]))
    return scaled(across + down)


def scaled(vector):
    length = sum(value * value for value in vector) ** 0.5 or 1.0
    return [value / length for value in vector]


def all_features(folder, indices=None):
    (count, height, width, channels), pixels = read_npy(folder / "images.npy")
    size = height * width * channels
    indices = range(count) if indices is None else indices
    return [features(pixels[at * size:(at + 1) * size], height, width, channels) for at in indices]


def mean(vectors):
    return [sum(values) / len(vectors) for values in zip(*vectors)]


def centred(vectors, centre):
    return [scaled(list(map(float.__sub__, vector, centre))) for vector in vectors]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--target", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--centre", choices=["own", "source"], required=True)
    parser.add_argument("--images", type=int, required=True)
    options = parser.parse_args()
    assert not (options.target / "train" / "labels.npy").exists(), "the target has no labels here"

    draw = random.Random(options.seed)
    (count,), labels = read_npy(options.source / "train" / "labels.npy")
    chosen = draw.sample(range(count), min(options.images, count))
    labels = [labels[at] for at in chosen]
    source = all_features(options.source / "train", chosen)
    centres = {"source": mean(source)}
    print(f"{len(chosen)} source images")
    if options.centre == "own":
        (count, *_), _ = read_npy(options.target / "train" / "images.npy")
        chosen = draw.sample(range(count), min(options.images, count))
        centres["target"] = mean(all_features(options.target / "train", chosen))
        print(f"{len(chosen)} target images, without labels")
    else:
        centres["target"] = centres["source"]

    source = centred(source, centres["source"])
    classes = range(max(labels) + 1)
    centroids = [scaled(mean([it for it, of in zip(source, labels) if of == label])) for label in classes]
    for domain in ["source", "target"]:
        vectors = all_features(getattr(options, domain) / "test")
        rows = [
            # Cosines as they are would make probabilities that are nearly the same for all classes.
            [SHARPNESS * sum(map(float.__mul__, vector, centroid)) for centroid in centroids]
            for vector in centred(vectors, centres[domain])
        ]
        write_npy(options.out / f"{domain}.test.npy", rows)
        print(f"{domain}: {len(rows)} predictions")


if __name__ == "__main__":
    main()
