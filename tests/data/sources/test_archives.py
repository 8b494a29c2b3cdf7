import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile

import numpy as np
import pytest

from imbal_jax.data.sources.archives import pictures
from imbal_jax.errors import InputError

RNG = np.random.default_rng(0)
FILES = {f"im/{i:03}.png": RNG.bytes(200 + 37 * i) for i in range(8)}
FILES["im/008.png"] = bytes(3 * 512)  # fills its blocks, all zeros as the end of a tar is


def tar(files=FILES):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def zipped(files=FILES):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


ARCHIVES = {
    "a.tar": tar(),
    "a.tar.gz": gzip.compress(tar()),
    "a.tgz": gzip.compress(tar()),
    "a.tar.bz2": bz2.compress(tar()),
    "a.tar.xz": lzma.compress(tar()),
    "a.zip": zipped(),
}


def unpack(folder, files=FILES):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def content(folder):
    return sorted(data for _, data in pictures(folder, ".png"))


EXPECTED = sorted(FILES.values())


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_beside_its_unpacked_files_counts_once(name, tmp_path):
    (tmp_path / name).write_bytes(ARCHIVES[name])
    assert content(tmp_path) == EXPECTED
    unpack(tmp_path)
    assert content(tmp_path) == EXPECTED


def test_files_that_are_only_partly_unpacked_are_completed_from_the_archive(tmp_path):
    unpack(tmp_path, dict(list(FILES.items())[:3]))
    (tmp_path / "a.tar.gz").write_bytes(ARCHIVES["a.tar.gz"])
    assert content(tmp_path) == EXPECTED


@pytest.mark.parametrize(
    "copy",
    [
        "set/set/im/001.png", "again/001.png", "001 (1).png", "001 - Copy.png", "001 - Copy (2).png",
        "001 copy 2.png", "001.PNG", ".ipynb_checkpoints/001-checkpoint.png", "deep/001-checkpoint.png",
    ],
)  # fmt: skip
def test_a_copy_counts_once_where_its_bytes_are_the_same(copy, tmp_path):
    unpack(tmp_path)
    unpack(tmp_path, {copy: FILES["im/001.png"]})
    assert content(tmp_path) == EXPECTED
    if "ipynb" not in copy:
        unpack(tmp_path, {copy: b"another film"})
        with pytest.raises(InputError, match="two pictures of one name: keep the one that is right"):
            content(tmp_path)


def test_what_macos_leaves_is_passed_over(tmp_path):
    unpack(tmp_path)
    unpack(tmp_path, {"__MACOSX/im/._001.png": b"x", "im/._002.png": b"x", "__MACOSX/003.png": b"x"})
    (tmp_path / "b.zip").write_bytes(zipped({"__MACOSX/im/._001.png": b"x", "im/._009.png": b"x"}))
    assert content(tmp_path) == EXPECTED


def test_linked_folders_are_read_once(tmp_path):
    unpack(tmp_path / "elsewhere")
    (tmp_path / "set").mkdir()
    os.symlink(tmp_path / "elsewhere" / "im", tmp_path / "set" / "im")
    os.symlink(tmp_path / "set", tmp_path / "set" / "loop")
    assert content(tmp_path / "set") == EXPECTED


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_ends_early_is_refused_wherever_it_ends(name, tmp_path):
    data = ARCHIVES[name]
    end = data.rindex(FILES["im/007.png"]) + 3000 if name == "a.tar" else len(data)  # zeros to the end
    for cut in range(0, end - 1, max(1, end // 40)):
        (tmp_path / name).write_bytes(data[:cut])
        with pytest.raises(InputError, match=r"is damaged or no archive .* remove it and fetch it again"):
            content(tmp_path)


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_a_changed_byte_of_a_compressed_archive_is_found(name, tmp_path):
    data = bytearray(ARCHIVES[name])
    for place in range(12, len(data) - 4, len(data) // 60):
        changed = data.copy()
        changed[place] ^= 0x55
        (tmp_path / name).write_bytes(bytes(changed))
        with pytest.raises(InputError):
            content(tmp_path)


def test_a_damaged_header_inside_a_tar_does_not_end_it_silently(tmp_path):
    data = bytearray(tar())
    place = data.index(b"im/004.png")
    data[place + 148 : place + 156] = b"9999999\0"  # the checksum of the header
    (tmp_path / "a.tar").write_bytes(bytes(data))
    with pytest.raises(InputError, match="is truncated, or a header in it is damaged"):
        content(tmp_path)


def long_name():
    """A tar whose name is said to have 600 MiB."""
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, 600 * 2**20
    return gzip.compress(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def zip_link():
    stream, member = io.BytesIO(), zipfile.ZipInfo("im/link.png")
    member.external_attr = 0o120777 << 16
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(member, "001.png")
    return stream.getvalue()


def test_what_is_no_archive_encrypted_or_joined_is_refused_in_one_line(tmp_path):
    encrypted = bytearray(zipped())
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = encrypted.index(signature)
        encrypted[start + place] |= 1
    linked = io.BytesIO()
    with tarfile.open(fileobj=linked, mode="w") as archive:
        member = tarfile.TarInfo("im/001.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/elsewhere/001.png"
        archive.addfile(member)
    for name, data in {
        "a.zip": b"<!DOCTYPE html>",
        "a.tar": b"<html>" * 300,
        "a.tgz": b"<html>",
        "b.zip": bytes(encrypted),
        "b.tar": tar() + tar({"im/9.png": b"x"}),
        "b.tar.gz": gzip.compress(tar()) + gzip.compress(tar({"im/9.png": b"x"})),
        "c.tar": linked.getvalue(),
        "d.tgz": long_name(),
        "d.zip": zip_link(),
        "c.zip": b"",
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(InputError, match=f"{name} is damaged or no archive") as caught:
            content(tmp_path)
        assert "\n" not in str(caught.value)
        path.unlink()
