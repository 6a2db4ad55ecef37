"""Merkle tree hash and inclusion proofs of RFC 9162 (Certificate Transparency 2.0), section 2.1.

    MTH({}) = SHA-256()
    MTH({d}) = SHA-256(0x00 || d)
    MTH(D[n]) = SHA-256(0x01 || MTH(D[0:k]) || MTH(D[k:n])),  k the largest power of two smaller than n

The leaves `d` of the audit log's tree are the 32 bytes of each entry's `entry_hash`.
"""

import hashlib
from collections.abc import Iterable


def leaf_hash(data: bytes) -> bytes:
    """Hash of one leaf (32 bytes)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of a node over two subtrees (32 bytes)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that grows leaf by leaf and keeps only the roots of its full subtrees: log2(n) hashes for n leaves."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []  # roots of the full subtrees, largest first, as the bits of `size`

    def add(self, data: bytes) -> None:
        """Append a leaf."""
        node, bits = leaf_hash(data), self.size
        while bits & 1:
            node = node_hash(self._subtrees.pop(), node)
            bits >>= 1
        self._subtrees.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Tree hash of the leaves so far (32 bytes)."""
        if not self._subtrees:
            return hashlib.sha256().digest()
        node = self._subtrees[-1]
        for left in reversed(self._subtrees[:-1]):
            node = node_hash(left, node)
        return node


class Proofs:
    """Inclusion proofs of the leaves of a tree that stays as it is. Holds about two hashes a leaf."""

    def __init__(self, leaves: Iterable[bytes]) -> None:
        self._levels = [[leaf_hash(data) for data in leaves]]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            pairs = [node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
            self._levels.append(pairs + below[len(below) - len(below) % 2 :])  # an odd one out moves up as it is

    def of(self, index: int) -> list[bytes]:
        """PATH(index, D) of RFC 9162: the sibling of every node from the leaf to the root, where there is one."""
        path = []
        for level in self._levels[:-1]:
            if index ^ 1 < len(level):
                path.append(level[index ^ 1])
            index >>= 1
        return path
