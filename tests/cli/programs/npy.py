"""Arrays and tensors for the programs of the tests, which have nothing but Python."""
import array
import ast
import json
import struct


def read(path):
    """The shape and the numbers of a `.npy` file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<H", data[8:10])
    header = ast.literal_eval(data[10:10 + length].decode())
    numbers = array.array({"|u1": "B", "<i8": "q", "<f4": "f"}[header["descr"]])
    numbers.frombytes(data[10 + length:])
    return header["shape"], numbers


def write(path, shape, numbers, kind="<f4"):
    numbers = array.array({"|u1": "B", "<i8": "q", "<f4": "f"}[kind], numbers)
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {tuple(shape)}, }}\n"
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    path.write_bytes(head + numbers.tobytes())


def write_tensors(path, tensors):
    """A safetensors file of `{name: (shape, numbers)}` in single precision."""
    head, data = {}, b""
    for name, (shape, numbers) in tensors.items():
        numbers = array.array("f", numbers).tobytes()
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(numbers)]}
        data += numbers
    head = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


def colours(folder):
    """Mean red and mean blue of every image of a split."""
    (count, height, width, channels), pixels = read(folder / "images.npy")
    size = height * width
    means = []
    for at in range(count):
        image = pixels[at * size * channels:(at + 1) * size * channels]
        means.append((sum(image[0::channels]) / size, sum(image[channels - 1::channels]) / size))
    return means
