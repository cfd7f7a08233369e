#!/usr/bin/env python3
"""Makes the pictures of fuzz/corpus/image, one of each kind that is read, and images.safetensors, which
holds what Pillow reads from each: uint8 [H, W, C], under the name of the file.

    python3 images.py         # needs Pillow 13, numpy and safetensors

`turned.*` hold an EXIF orientation; their pixels in images.safetensors are not turned, those of
`turned.*.upright` are.
"""
import pathlib
import struct

import numpy
from PIL import Image, ImageOps
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
OUT = HERE.parent.parent / "fuzz" / "corpus" / "image"
OUT.mkdir(parents=True, exist_ok=True)

# Odd sides: the last blocks of a JPEG are not full. Ramps with some noise: no scan is empty.
y, x = numpy.mgrid[0:29, 0:43]
noise = numpy.random.default_rng(0).integers(-12, 13, (29, 43, 3))
ramps = numpy.stack([x * 6, y * 8, (x + y) * 3], -1)
colours = Image.fromarray(numpy.clip(ramps + noise, 0, 255).astype("uint8"))
gray = colours.convert("L")
few = colours.quantize(16)
clear = colours.convert("RGBA")
clear.putalpha(gray)


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def save(name, image, **options):
    image.save(OUT / name, **options)


save("baseline.jpg", colours, quality=80)
save("full-chroma.jpg", colours, quality=80, subsampling=0)
save("restarts.jpg", colours, quality=80, restart_marker_blocks=2)
save("gray.jpg", gray, quality=80)
save("cmyk.jpg", colours.convert("CMYK"), quality=80)
save("progressive.jpg", colours, quality=80, progressive=True)
save("progressive-gray.jpg", gray, quality=80, progressive=True)
save("progressive-restarts.jpg", colours, quality=80, progressive=True, restart_marker_blocks=2)
save("turned.jpg", colours, quality=90, exif=exif(6))
save("colours.png", colours)
save("gray.png", gray)
save("palette.png", few)
save("clear.png", clear)
save("turned.png", colours, exif=exif(5))
save("lossy.webp", colours, quality=80)
save("lossless.webp", colours, lossless=True)
save("clear.webp", clear, quality=80)
save("turned.webp", colours, lossless=True, exif=exif(8))
save("colours.bmp", colours)
save("palette.bmp", few)
save("plain.gif", few, interlace=0)
save("interlaced.gif", few, interlace=1)
save("two-frames.gif", few, save_all=True, append_images=[few.rotate(180)], duration=100)
save("colours.ppm", colours)
save("gray.pgm", gray)
save("black.pbm", gray.convert("1"))
save("raw.tif", colours)
save("gray.tif", gray)
save("lzw.tif", colours, compression="tiff_lzw")
save("deflate.tif", colours, compression="tiff_adobe_deflate")
save("packbits.tif", gray, compression="packbits")
save("strips.tif", colours, compression="tiff_lzw", strip_size=43 * 3 * 5)
save("two-pages.tif", colours, save_all=True, append_images=[colours.rotate(180)])
save("big.tif", colours, big_tiff=True)

(OUT / "digits.ppm").write_text(
    "P3\n# plain text\n43 29\n255\n"
    + "".join(" ".join(map(str, row.ravel())) + "\n" for row in numpy.array(colours))
)
(OUT / "fifteen.pgm").write_bytes(
    b"P5\n43 29\n15\n" + (numpy.array(gray) // 17).astype("uint8").tobytes()
)


def tiff(entries, data, order):
    """A TIFF of one page and one strip with the directory behind it, as libtiff writes it."""
    file = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8 + len(data)) + data
    file += struct.pack(order + "H", len(entries))
    for tag, kind, value in sorted(entries):
        held = struct.pack(order + "I", value)
        if kind == 3:
            held = struct.pack(order + "HH", value, 0)
        file += struct.pack(order + "HHI", tag, kind, 1) + held
    return file + bytes(4)


pixels = numpy.array(gray).tobytes()
base = [(256, 3, 43), (257, 3, 29), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
base += [(278, 3, 29), (279, 4, len(pixels))]
(OUT / "turned.tif").write_bytes(tiff(base + [(274, 3, 6)], pixels, ">"))

tensors = {}
for path in sorted(OUT.iterdir()):
    image = Image.open(path)
    if path.name == "turned.tif":
        # Pillow turns TIFF files when it loads them, version 13 twice where they are not compressed.
        image = gray
    mode = "L" if image.mode in ("1", "L", "I;16") else "RGB"
    stored = image.convert(mode)
    array = numpy.array(stored)
    tensors[path.name] = array.reshape(*array.shape[:2], -1).copy()
    if path.name.startswith("turned."):
        upright = ImageOps.exif_transpose(image).convert(mode)
        array = numpy.array(upright)
        if path.suffix == ".tif":
            array = numpy.rot90(numpy.array(gray), -1)
        tensors[path.name + ".upright"] = array.reshape(*array.shape[:2], -1).copy()
save_file(tensors, HERE / "images.safetensors")
for name, array in tensors.items():
    print(name, array.shape)
