"""What a file is that is no checkpoint this reader reads, by its first bytes, and what to do about it."""

from __future__ import annotations

import re

_LFS = b"version https://git-lfs.github.com/spec/v1"
_LFS_SIZE = re.compile(rb"^size (\d{1,20})$", re.MULTILINE)
_KNOWN = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as Keras writes"),
    (b"GGUF", "a GGUF file, which holds quantized weights for inference"),
    (b"\x1f\x8b", "compressed with gzip: unpack it and verify what comes out"),
    (b"BZh", "compressed with bzip2: unpack it and verify what comes out"),
    (b"\xfd7zXZ", "compressed with xz: unpack it and verify what comes out"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it and verify what comes out"),
    (b"\x93NUMPY", "a numpy array (.npy), not a checkpoint"),
    (b"/annex/objects/", "a git-annex pointer, not the checkpoint. Run `git annex get` to fetch it"),
    (b"<", "text that begins like a web page: the download probably returned an error page. Download the file again"),
    (b"{", "JSON text, not a checkpoint"),
)
_TAR_AT = 257  # of the signature


def describe_unknown(data: memoryview) -> str:
    """A sentence for a file that is neither a torch file nor safetensors."""
    head = bytes(data[:512])
    if head.startswith(_LFS):
        size = _LFS_SIZE.search(head)
        of = f"the file itself has {int(size[1])} bytes" if size else "the file itself is not here"
        return f"a git-LFS pointer, not the checkpoint: {of}. Run `git lfs pull` to fetch it"
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return "a tar archive: torch before 0.2 wrote such files, which are not read here"
    if head[:1] == b"\x80":
        return "a pickle that torch.save did not write: not read here. Save the state with torch.save"
    for magic, what in _KNOWN:
        if head.lstrip().startswith(magic):
            return what
    if not head.strip(b"\0"):
        return "nothing but zeros: the file was never written, or its disk lost it"
    return "neither a torch archive nor a safetensors file"
