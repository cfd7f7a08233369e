"""The random numbers of src/random.rs: ChaCha8 keyed by the BLAKE3 hash of seed, epoch, index and purpose.
Scripts draw from it what a method draws, so that the tests can take whole steps of it."""
import numpy as np

IV = [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19]
PERMUTATION = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
COLUMNS = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
DIAGONALS = [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
ALL = 0xFFFFFFFF


def rotate_right(x, by):
    return (x >> by | x << (32 - by)) & ALL


def blake3(message):
    """The hash of at most one block."""
    assert len(message) <= 64
    words = np.frombuffer(message.ljust(64, b"\0"), "<u4").tolist()
    v = IV + IV[:4] + [0, 0, len(message), 1 | 2 | 8]
    for _ in range(7):
        for at, (a, b, c, d) in enumerate(COLUMNS + DIAGONALS):
            for word, (first, second) in zip(words[2 * at : 2 * at + 2], ((16, 12), (8, 7))):
                v[a] = (v[a] + v[b] + word) & ALL
                v[d] = rotate_right(v[d] ^ v[a], first)
                v[c] = (v[c] + v[d]) & ALL
                v[b] = rotate_right(v[b] ^ v[c], second)
        words = [words[at] for at in PERMUTATION]
    return np.array([v[at] ^ v[at + 8] for at in range(8)], "<u4").tobytes()


def chacha8(key, blocks):
    """The first words of the key stream, sixteen per block."""
    start = np.zeros((16, blocks), np.uint32)
    start[:4] = np.frombuffer(b"expand 32-byte k", "<u4")[:, None]
    start[4:12] = np.frombuffer(key, "<u4")[:, None]
    start[12] = np.arange(blocks)
    x = start.copy()
    for _ in range(4):
        for a, b, c, d in COLUMNS + DIAGONALS:
            for first, second in ((16, 12), (8, 7)):
                for into, other, turned, by in ((a, b, d, first), (c, d, b, second)):
                    x[into] += x[other]
                    turn = x[turned] ^ x[into]
                    x[turned] = turn << np.uint32(by) | turn >> np.uint32(32 - by)
    return (x + start).T.ravel()


assert blake3(b"").hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
assert chacha8(bytes(32), 1)[:4].astype("<u4").tobytes().hex() == "3e00ef2f895f40d67f5bb8e81f09a5a1"


def words(purpose, step, count, seed=0, epoch=0):
    numbers = b"".join(int(number).to_bytes(8, "little") for number in (seed, epoch, step))
    return chacha8(blake3(numbers + purpose.encode()), -(-count // 16))[:count]


def uniform(purpose, step, count):
    """Numbers in [0, 1) of a step of the first epoch."""
    return ((words(purpose, step, count) >> np.uint32(8)) / np.float32(1 << 24)).astype(np.float32)


def normal(purpose, step, count):
    """Standard normal numbers of a step of the first epoch."""
    drawn = words(purpose, step, 4 * count).astype(np.uint64)
    unit = (((drawn[1::2] << np.uint64(32)) | drawn[::2]) >> np.uint64(11)) / float(1 << 53)
    radius = np.sqrt(-2 * np.log(1 - unit[::2]))
    return (radius * np.cos(2 * np.pi * unit[1::2])).astype(np.float32)
