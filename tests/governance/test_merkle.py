"""Roots of known trees; proofs against the verification algorithm of RFC 9162."""

import hashlib

import pytest

from governance.merkle import Proofs, Tree, leaf_hash, node_hash

# Leaves and roots of the reference tests of Certificate Transparency (RFC 6962 and RFC 9162 hash alike).
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(9))
def test_known_roots(size: int) -> None:
    tree = Tree()
    for leaf in LEAVES[:size]:
        tree.add(bytes.fromhex(leaf))
    assert tree.root().hex() == ROOTS[size]
    assert tree.size == size


def test_the_tree_and_the_paths_of_section_2_1_5() -> None:
    """The example of RFC 9162: seven leaves, nodes a to l, and the paths of d0, d3, d4 and d6."""
    d = [bytes([i]) for i in range(7)]
    a, b, c, e, f, h = (leaf_hash(d[i]) for i in (0, 1, 2, 4, 5, 3))
    j = leaf_hash(d[6])
    g, hh, i = node_hash(a, b), node_hash(c, h), node_hash(e, f)
    k, ll = node_hash(g, hh), node_hash(i, j)
    proofs = Proofs(d)
    assert proofs.of(0) == [b, hh, ll]
    assert proofs.of(3) == [c, g, ll]
    assert proofs.of(4) == [f, j, k]
    assert proofs.of(6) == [i, k]
    tree = Tree()
    for leaf in d:
        tree.add(leaf)
    assert tree.root() == node_hash(k, ll)


def root_from_path(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """Section 2.1.3.2, step by step."""
    fn, sn, r = index, size - 1, leaf_hash(leaf)
    for p in path:
        assert sn != 0
        if fn & 1 or fn == sn:
            r = hashlib.sha256(b"\x01" + p + r).digest()
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = hashlib.sha256(b"\x01" + r + p).digest()
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0
    return r


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 64, 65])
def test_every_path_leads_to_the_root(size: int) -> None:
    leaves = [hashlib.sha256(bytes([i])).digest() for i in range(size)]
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    proofs = Proofs(leaves)
    for i, leaf in enumerate(leaves):
        assert root_from_path(i, size, leaf, proofs.of(i)) == tree.root()
