"""Which mounts are watched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.probes.mounts import MAX_MOUNTS, Mount, parse_line, parse_mounts, unescape


def entry(
    path: str, fstype: str = "ext4", device: str = "8:1", options: str = "rw", number: int = 36,
    super_options: str = "rw", source: str = "/dev/sda1", root: str = "/",
) -> str:  # fmt: skip
    head = f"{number} 35 {device} {root} {path} {options},relatime shared:1"
    return f"{head} - {fstype} {source} {super_options}\n"


def paths(*entries: str) -> list[str]:
    return [m.path for m in parse_mounts("".join(entries).encode())]


def test_a_line_with_and_without_optional_fields() -> None:
    want = Mount(36, "98:0", "/mnt 2", "ext3", "/dev/root", False)
    for optional in (b"master:1 ", b"", b"shared:3 master:2 propagate_from:1 "):
        line = b"36 35 98:0 /m1 /mnt\\0402 rw,noatime " + optional + b"- ext3 /dev/root rw,errors=continue"
        assert parse_line(line) == want


@pytest.mark.parametrize(("options", "super_options"), [("ro", "rw"), ("rw", "ro"), ("ro", "ro")])
def test_read_only_by_the_mount_or_by_the_filesystem(options: str, super_options: str) -> None:
    assert parse_mounts(entry("/", options=options, super_options=super_options).encode())[0].readonly
    assert not parse_mounts(entry("/", super_options="rw,errors=remount-ro").encode())[0].readonly


@pytest.mark.parametrize(
    ("fstype", "path", "kept"),
    [
        ("ext4", "/", True), ("xfs", "/data", True), ("zfs", "/tank", True), ("vfat", "/boot/efi", True),
        ("nfs4", "/home", True), ("lustre", "/lus", True), ("ceph", "/c", True), ("fuse.sshfs", "/mnt", True),
        ("fuse.gcsfuse", "/gcs", True), ("fuseblk", "/win", True), ("9p", "/host", True),
        ("beegfs", "/b", True),
        ("fuse.gvfsd-fuse", "/run/user/1000/gvfs", False), ("fuse.portal", "/p", False),
        ("fuse.lxcfs", "/l", False),
        ("overlay", "/", True), ("overlay", "/var/lib/docker/overlay2/x/merged", False),
        ("tmpfs", "/tmp", True), ("tmpfs", "/dev/shm", True), ("tmpfs", "/run", True),
        ("tmpfs", "/scratch", True),
        ("tmpfs", "/run/user/1000", False), ("tmpfs", "/run/credentials/systemd-x.service", False),
        ("tmpfs", "/sys/fs/cgroup", False), ("tmpfs", "/dev", False), ("tmpfs", "/dev/something", False),
        ("tmpfs", "/var/lib/kubelet/pods/x/volumes/kubernetes.io~secret/y", False),
        ("squashfs", "/snap/core/1", False), ("proc", "/proc", False), ("autofs", "/net", False),
        ("devtmpfs", "/dev", False), ("cgroup2", "/sys/fs/cgroup", False), ("iso9660", "/media/cd", False),
    ],
)  # fmt: skip
def test_what_is_worth_watching(fstype: str, path: str, kept: bool) -> None:
    assert paths(entry(path, fstype)) == ([path] if kept else [])


def test_bind_mounts_and_subvolumes_are_one_filesystem_under_its_shortest_path() -> None:
    assert paths(entry("/srv/data", number=1), entry("/", number=2), entry("/home", number=3)) == ["/"]
    assert paths(entry("/a", device="0:40", fstype="btrfs"), entry("/bb", device="0:40", fstype="btrfs")) == [
        "/a"
    ]


def test_a_mount_on_top_of_another_hides_it() -> None:
    got = parse_mounts((entry("/m", device="8:1") + entry("/m", "xfs", device="8:2")).encode())
    assert [(m.fstype, m.device) for m in got] == [("xfs", "8:2")]


def test_files_that_a_container_runtime_binds_are_no_filesystems() -> None:
    entries = [entry(p) for p in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")]
    assert paths(*entries) == []
    assert paths(*entries, entry("/data")) == ["/data"]


def test_of_very_many_the_shallow_ones_are_kept() -> None:
    entries = [entry(f"/deep/down/{i:04d}", device=f"9:{i}") for i in range(300)]
    got = paths(*entries, entry("/", device="8:1"), entry("/tmp", "tmpfs", device="0:9"))
    assert len(got) == MAX_MOUNTS and "/" in got


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (rb"/a\040b", "/a b"), (rb"/t\011n\012x", "/t\tn\nx"), (rb"/back\134slash", "/back\\slash"),
        (rb"/not\09x", r"/not\09x"), ("/ü".encode(), "/ü"), (b"/\xff", "/\udcff"),
    ],
)  # fmt: skip
def test_octal_escapes(text: bytes, path: str) -> None:
    assert unescape(text) == path


@given(st.binary(max_size=200) | st.text("0123456789:/ -rw,exttmpfs\\\n", max_size=200).map(str.encode))
def test_any_content_is_a_list_of_mounts(data: bytes) -> None:
    for mount in parse_mounts(data + b"\n36 35 98:0 / /" + data + b" rw - ext4 " + data):
        assert type(mount.id) is int and mount.path.startswith("/")
