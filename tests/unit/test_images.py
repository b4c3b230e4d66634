import errno
import gzip
import io
import os
import struct
import tracemalloc
import zipfile
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image

from seeds.images import ImageError, ImageSet, open_images, to_uint8

GREY = np.random.default_rng(0).integers(0, 256, (7, 6, 5), np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (7, 6, 5, 3), np.uint8)


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def write_folder(path, images):
    for i, image in enumerate(images):
        file = path / f"{i // 3:06d}" / f"{i:06d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(image))
    (path / "notes.txt").write_text("no image")
    return path


def write_zip(path, images):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("dataset.json", "{}")
        for i in reversed(range(len(images))):
            archive.writestr(f"{i:06d}.png", png(images[i]))
    return path


def write_npz(path, images):
    np.savez_compressed(path, arr_0=images, arr_1=np.arange(3))
    return path


def write_idx(path, images):
    data = struct.pack(">HBB3I", 0, 8, 3, *images.shape) + images.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


WRITERS = {"folder": (write_folder, "images"), "zip": (write_zip, "a.zip"), "npz": (write_npz, "a.npz")}
IDX = {"idx": (write_idx, "t10k-images-idx3-ubyte"), "idx.gz": (write_idx, "t10k-images-idx3-ubyte.gz")}


@pytest.mark.parametrize("kind,images", [*((k, i) for k in WRITERS for i in (GREY, RGB)), *((k, GREY) for k in IDX)])
@pytest.mark.parametrize("size", [1, 3, 7, 64])
def test_every_kind_gives_the_same_arrays_in_order(tmp_path, kind, images, size):
    write, name = (WRITERS | IDX)[kind]
    source = open_images(write(tmp_path / name, images))
    batches = list(source.batches(size))
    assert source.count == 7 and [len(b) for b in batches] == [min(size, 7 - i) for i in range(0, 7, size)]
    assert np.array_equal(np.concatenate(batches), images.reshape(7, 6, 5, -1)) and batches[0].dtype == np.uint8
    assert np.array_equal(np.concatenate(list(source.batches(size, num=4))), images.reshape(7, 6, 5, -1)[:4])


def test_uint8_rule():
    x = torch.tensor([-2.0, -1.0, 0.0, 0.999, 1.0, 2.0]).reshape(1, 1, 2, 3)
    assert to_uint8(x)[0, :, :, 0].tolist() == [[0, 0, 128], [255, 255, 255]]
    levels = torch.arange(256, dtype=torch.float32).reshape(1, 1, 16, 16)
    assert to_uint8(levels / 127.5 - 1).reshape(-1).tolist() == list(range(256))


def test_nan_is_no_colour():
    x = torch.zeros(3, 1, 2, 2)
    x[1, 0, 1, 1] = torch.nan
    with pytest.raises(FloatingPointError, match="Image 1 of 3 holds NaN, which is no colour"):
        to_uint8(x)
    assert to_uint8(x[:0]).shape == (0, 2, 2, 1)


def refused(path, match, num=None):
    with pytest.raises(ImageError, match=match) as caught:
        list(open_images(path).batches(2, num))
    assert "\n" not in str(caught.value)


def test_corrupt_png_is_named(tmp_path):
    path = write_folder(tmp_path / "images", RGB)
    bad = path / "000001" / "000004.png"
    whole = bytearray(bad.read_bytes())
    for damage in (
        whole[:60],
        whole[: len(whole) - 30],
        b"",
        b"not a png",
        bytes(whole[:70]) + b"\xff\xff\xff" + bytes(whole[73:]),
    ):
        bad.write_bytes(damage)
        refused(path, "000001/000004.png cannot be read: .*Replace it or take it away")
    assert np.array_equal(np.concatenate(list(open_images(path).batches(2, num=4))), RGB[:4])


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_what_is_no_image_of_the_set_is_left_out_of_folders_and_zips_alike(tmp_path, kind):
    files = {f"run/{i:06d}.png": png(image) for i, image in enumerate(RGB)}
    files |= dict.fromkeys(
        ("__MACOSX/run/._000000.png", "run/.hidden.png", "run/.ipynb_checkpoints/000000.png", ".trash/run/000001.png"),
        b"no image",
    )
    files |= {"run/run.json": b"{}", "run/grid.png": png(GREY[0])}

    def made():
        write_named(tmp_path / kind, files, kind)
        return tmp_path / kind

    assert np.array_equal(np.concatenate(list(open_images(made()).batches(3))), RGB)
    files["run/000004.png"] = b"not a png"
    refused(made(), r"run/000004\.png cannot be read: it is damaged, or no image that Pillow knows\. Replace")


def test_members_of_a_zip_may_be_named_from_its_own_folder(tmp_path):
    files = {
        "./10.png": png(RGB[1]),
        "./2.png": png(RGB[0]),
        "a.png": png(RGB[2]),
        "./grid.png": png(GREY[0]),
        "./run.json": b"{}",
    }
    write_named(tmp_path / "a.zip", files, "zip")
    assert np.array_equal(np.concatenate(list(open_images(tmp_path / "a.zip").batches())), RGB[:3])


NAMES = (
    "2.png",
    "10.png",
    "999000/999999.png",
    "1000000/999.png",
    "1000000/1000000.png",
    "a-b.png",
    "a.png",
    "a/9.png",
    "a/10.png",
    "a10.png",
    "a9.png",
)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_names_that_are_numbers_are_in_the_order_of_the_numbers(tmp_path, kind):
    images = np.arange(len(NAMES), dtype=np.uint8)[:, None, None].repeat(2, axis=1)
    write_named(tmp_path / kind, dict(reversed([*zip(NAMES, map(png, images), strict=True)])), kind)
    assert np.concatenate(list(open_images(tmp_path / kind).batches()))[:, 0, 0, 0].tolist() == list(range(len(NAMES)))


def write_named(path, files, kind):
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


def test_links_to_folders_are_followed_and_loops_are_not(tmp_path):
    write_folder(tmp_path / "elsewhere", RGB[:3])
    path = tmp_path / "images"
    (path / "b").mkdir(parents=True)
    (path / "a").symlink_to(tmp_path / "elsewhere")
    (path / "b" / "again").symlink_to(path)
    assert np.array_equal(np.concatenate(list(open_images(path).batches())), RGB[:3])
    (path / "c.png").symlink_to(tmp_path / "absent.png")
    refused(path, "images/c.png does not exist")


def test_a_link_to_itself_is_named(tmp_path):
    path = write_folder(tmp_path / "images", RGB)
    (path / ".hidden").symlink_to(".hidden")
    assert open_images(path).count == 7
    (path / "self").symlink_to("self")
    refused(path, r"images/self cannot be read: .*symbolic links.*Replace it or take it away")


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    path, scandir = write_folder(tmp_path / "images", RGB), os.scandir

    def locked(folder):
        if str(folder).endswith("000001"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", locked)
    refused(path, r"images/000001 cannot be read: .*Permission denied")


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_two_images_of_one_seed_are_refused_where_it_is_asked_for(tmp_path, kind):
    write_named(
        tmp_path / kind,
        {f"{run}/{i:06d}.png": png(RGB[i]) for run, seeds in (("a", (0, 1, 2)), ("b", (1, 3))) for i in seeds},
        kind,
    )
    with pytest.raises(
        ImageError, match=r"holds two images of seed 1: a/000001.png and b/000001.png. Give the images of one run"
    ):
        open_images(tmp_path / kind, range(3))
    assert np.array_equal(np.concatenate(list(open_images(tmp_path / kind, [3, 0]).batches())), RGB[[3, 0]])


def test_an_npz_holds_its_seeds_once_and_in_the_order_asked_for(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, arr_0=RGB, seeds=[5, 3, 8, 8, 1, 2, 0])
    assert np.array_equal(np.concatenate(list(open_images(path, [5, 3, 1]).batches())), RGB[[0, 1, 4]])
    for seeds, match in (
        ([3, 5], "holds the images of `seeds` in another order, and is read from front to back"),
        ([5, 8], "holds two images of seed 8: 2 and 3"),
        ([5, 9], "holds no image of 1 of 2 `seeds`; the first is 9"),
    ):
        with pytest.raises(ImageError, match=match):
            open_images(path, seeds)


@pytest.mark.parametrize("seeds", [range(6), range(8)])
def test_an_npz_of_more_or_fewer_seeds_than_images_is_refused_where_seeds_are_asked_for(tmp_path, seeds):
    path = tmp_path / "a.npz"
    np.savez(path, arr_0=RGB, seeds=seeds)
    with pytest.raises(
        ImageError, match=f"a.npz holds {len(seeds)} `seeds` of 7 images in `arr_0`, so which is whose is unknown"
    ):
        open_images(path, [1, 2])
    assert open_images(path).count == 7


@pytest.mark.parametrize("held", [0, 3, 4])
def test_a_set_that_ends_early_loses_no_batch_silently(tmp_path, held):
    images = ImageSet(tmp_path, 5, lambda: ((str(i), lambda: RGB[0]) for i in range(held)))
    for num in (None, 5):
        with pytest.raises(ImageError, match=f"ended after {held} of 5 images"):
            list(images.batches(2, num))


def test_damaged_archives_are_named(tmp_path):
    for write, name in (WRITERS["zip"], WRITERS["npz"]):
        path = write(tmp_path / name, RGB)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        refused(path, f"{name}.* cannot be read: File is not a zip file")
        path.write_bytes(whole[:90] + bytes(b ^ 255 for b in whole[90:120]) + whole[120:])
        refused(path, f"{name}.* cannot be read")
    path = write_npz(tmp_path / "flipped.npz", RGB)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", npy(RGB))
    whole = bytearray(path.read_bytes())
    whole[300] ^= 1
    path.write_bytes(whole)
    refused(path, "flipped.npz.* cannot be read: Bad CRC-32")


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def test_gzip_checksum_is_read(tmp_path):
    path = write_idx(tmp_path / "idx.gz", GREY)
    whole = bytearray(path.read_bytes())
    whole[-6] ^= 1
    path.write_bytes(whole)
    refused(path, "idx.gz cannot be read: CRC check failed")


def npy_that_claims(shape, data=b"", dtype="|u1"):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    return header.getvalue() + data


@contextmanager
def little_memory(most=32 << 20):
    """No more than so many bytes are asked of Python's allocator inside."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(2**62, 1, 1), (2**62, 28, 28, 1), (1, 2**31, 2**31), (2**62, 0, 28), (-2, -3, 2)])
def test_an_npz_cannot_promise_more_images_than_it_has_bytes(tmp_path, shape):
    for name, data in (("few.npz", bytes(12)), ("none.npz", b"")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("arr_0.npy", npy_that_claims(shape, data))
        with little_memory():
            refused(tmp_path / name, "`arr_0` says that it is uint8|holds no pixel")


@pytest.mark.parametrize(
    "sizes", [(2**32 - 1, 28, 28), (2**32 - 1, 1, 1), (1, 2**32 - 1, 2**32 - 1), (2**32 - 1, 0, 5)]
)
@pytest.mark.parametrize("name", ["idx", "idx.gz"])
def test_an_idx_file_cannot_either(tmp_path, name, sizes):
    data = struct.pack(">HBB3I", 0, 8, 3, *sizes) + bytes(100)
    (tmp_path / name).write_bytes(gzip.compress(data) if name == "idx.gz" else data)
    with little_memory():
        refused(tmp_path / name, "its header says|holds no pixel")


def test_a_small_zip_does_not_become_gigabytes(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("0.png", "w") as file:
            for _ in range(80):
                file.write(bytes(1 << 20))
    with little_memory():
        refused(
            tmp_path / "bomb.zip",
            r"0\.png cannot be read: 0\.png would be unpacked from [0-9,]+ bytes to 83,886,080, more than",
        )


@pytest.mark.parametrize("name", ["idx", "idx.gz"])
def test_cut_idx_is_named(tmp_path, name):
    path = write_idx(tmp_path / name, GREY)
    path.write_bytes(path.read_bytes()[:-40])
    refused(
        path,
        "idx cannot be read: its header says 7 images of 6 x 5, but it has 186 bytes"
        if name == "idx"
        else f"{name}, image [0-9] cannot be",
    )
    path.write_bytes(path.read_bytes()[:14])
    refused(path, f"{name}.* cannot be read")


@pytest.mark.parametrize(
    "members,match",
    [
        ({"arr_0.npy": npy(RGB.astype(np.float32))}, r"`arr_0` is float32 .* must be uint8 \(N, H, W, C\)"),
        ({"arr_0.npy": npy(GREY[0])}, r"`arr_0` is uint8 \(6, 5\)"),
        ({"arr_0.npy": npy(np.array([{}], object))}, "`arr_0` holds Python objects, which are not read"),
        ({"arr_0.npy": b"no array"}, "its `arr_0` is no array"),
        (
            {"arr_0.npy": npy(RGB)[:200]},
            r"`arr_0` says that it is uint8 \(7, 6, 5, 3\), which does not fit the 200 bytes",
        ),
        ({"arr_0.npy": npy(RGB[:0])}, "holds no images"),
        ({"mu.npy": npy(np.zeros(3)), "sigma.npy": npy(np.eye(3))}, "holds mu.npy, sigma.npy, but no `arr_0`"),
        ({"readme.txt": b""}, "holds no images"),
    ],
)
def test_zips_and_npzs_without_images(tmp_path, members, match):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    refused(tmp_path / "a.npz", match)


def test_what_is_no_image_set(tmp_path):
    refused(tmp_path / "absent", "absent does not exist")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty holds no images: no file in it has an ending that Pillow knows")
    (tmp_path / "text").write_text("hello")
    refused(tmp_path / "text", "give a folder, a zip, an npz with uint8 `arr_0`, or an IDX file")
    labels = tmp_path / "labels"
    labels.write_bytes(struct.pack(">HBBI", 0, 8, 1, 3) + b"abc")
    refused(labels, "its IDX header says 1 dimensions.*labels 1")


def test_mixed_sets_and_modes(tmp_path):
    path = write_folder(tmp_path / "mixed", RGB)
    (path / "zz.png").write_bytes(png(GREY[0]))
    refused(path, r"zz.png has shape \(6, 5, 1\) \(H, W, C\), the first image \(6, 5, 3\)")
    (path / "zz.png").write_bytes(png(np.zeros((6, 5, 4), np.uint8)))
    refused(path, r"zz.png cannot be read: its mode is RGBA, only L \(grey\) and RGB are taken")
    refused(path, r"`num` = 9 images in batches of 2 were asked of .*mixed, which holds 8", num=9)


def png16():
    """A PNG of 16 bits a channel, which Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in 257 * RGB[0].astype(np.uint16))
    head = struct.pack(">IIBBBBB", 5, 6, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pnm(kind, most, images=RGB[0]):
    """A PPM or a PGM whose numbers reach to `most`."""
    numbers = images.astype(int) * most // 255
    plain = " ".join(map(str, numbers.ravel())).encode()
    return b"%s 5 6 %d\n" % (kind, most) + (
        plain if kind in (b"P2", b"P3") else numbers.astype(">u2" if most > 255 else np.uint8).tobytes()
    )


def sgi16():
    file = io.BytesIO()
    Image.fromarray(RGB[0]).save(file, "SGI", bpc=2)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_images_that_would_be_cut_are_refused(tmp_path, kind):
    cut = {
        "0.png": png16(),
        "0.sgi": sgi16(),
        **{f"{most}-{p.decode()}.ppm": pnm(p, most) for p in (b"P3", b"P6") for most in (1023, 65535)},
    }
    for name, data in cut.items():
        write_named(tmp_path / name, {name: data}, kind)
        refused(
            tmp_path / name,
            f"{name} cannot be read: its pixels have more than 8 bits a channel, only 8 are taken as they are",
        )
    for p in (b"P2", b"P5"):
        write_named(tmp_path / p.decode(), {"a.pgm": pnm(p, 65535, GREY[0])}, kind)
        refused(tmp_path / p.decode(), "a.pgm cannot be read: its mode is I, only L")
    write_named(tmp_path / "whole", {"a.ppm": pnm(b"P6", 255), "b.ppm": pnm(b"P3", 255)}, kind)
    assert np.array_equal(np.concatenate(list(open_images(tmp_path / "whole").batches())), RGB[[0, 0]])
    for ending in ("tiff", "png"):
        file = io.BytesIO()
        Image.fromarray(GREY[0]).save(file, ending, save_all=True, append_images=[*map(Image.fromarray, GREY[1:3])])
        write_named(tmp_path / ending, {f"a.{ending}": file.getvalue()}, kind)
        refused(
            tmp_path / ending,
            f"a.{ending} cannot be read: it holds 3 frames, but one image is wanted of each file; split it first",
        )


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_a_mixed_set_is_refused_by_any_number_of_processes(tmp_path, processes):
    path = write_folder(tmp_path / "mixed", np.repeat(RGB, 2, axis=0)[:12])
    for i in (2, 3, 6, 7, 10, 11):  # every second pair, so that each of two processes sees one shape only
        (path / f"{i // 3:06d}" / f"{i:06d}.png").write_bytes(png(GREY[0]))
    with pytest.raises(ImageError, match=r"00000[26].png has shape \(6, 5, 1\) .* the first image \(6, 5, 3\)"):
        for rank in range(processes):
            list(open_images(path).pieces(2, owns=lambda number, rank=rank: number % processes == rank))


def test_a_huge_image_is_refused_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    refused(write_folder(tmp_path / "images", RGB), "000000.png cannot be read: .*decompression bomb")
