#!/usr/bin/env python3
"""Computes ikev1-reference.txt, from RFC 2409 and draft-ietf-ipsec-dhless-enc-mode-00 alone.

It shares nothing with the crate: run it and compare, `ikev1_reference.py | diff - ikev1-reference.txt`.
"""

import hashlib
import hmac

HASHES = ["md5", "sha1", "sha256", "sha384", "sha512"]


def octets(label, length):
    """Octets that look like none others, the same in every run."""
    out = b""
    count = 0
    while len(out) < length:
        out += hashlib.sha256(f"{label} {count}".encode()).digest()
        count += 1
    return out[:length]


CKY_I = octets("CKY-I", 8)
CKY_R = octets("CKY-R", 8)
NI = octets("Ni_b", 16)
NR = octets("Nr_b", 20)
GXI = octets("g^xi", 128)
GXR = octets("g^xr", 128)
GXY = b"\0" + octets("g^xy", 127)
PSK = octets("pre-shared-key", 11)
SAI = octets("SAi_b", 48)
IDII = octets("IDii_b", 8)
IDIR = octets("IDir_b", 19)
MID = octets("M-ID", 4)
REST = octets("payloads", 77)
QNI = octets("Ni_b of quick mode", 32)
QNR = octets("Nr_b of quick mode", 33)
QGXY = b"\0" + octets("g(qm)^xy", 127)
SPI = octets("SPI", 4)
CERT = octets("certificate", 200)
Z = b"\0"


def main():
    inputs = [("CKY-I", CKY_I), ("CKY-R", CKY_R), ("Ni", NI), ("Nr", NR), ("g^xi", GXI), ("g^xr", GXR),
              ("g^xy", GXY), ("psk", PSK), ("SAi", SAI), ("IDii", IDII), ("IDir", IDIR), ("M-ID", MID),
              ("payloads", REST), ("qNi", QNI), ("qNr", QNR), ("g(qm)^xy", QGXY), ("SPI", SPI),
              ("certificate", CERT)]
    print("# Answers of ikev1_reference.py.")
    print("[inputs]")
    for name, value in inputs:
        print(name, "=", value.hex())
    for name in HASHES:
        print(f"[{name}]")
        answers(name)


def answers(name):
    def show(label, value):
        print(label, "=", value.hex())

    def prf(key, data):
        return hmac.new(key, data, name).digest()

    def digest(data):
        return hashlib.new(name, data).digest()

    def expand(key, length):
        # RFC 2409 appendix B.
        if len(key) >= length:
            return key[:length]
        block = prf(key, Z)
        out = block
        while len(out) < length:
            block = prf(key, block)
            out += block
        return out[:length]

    def phase1(label, skeyid, gxi, gxr, gxy):
        d = prf(skeyid, gxy + CKY_I + CKY_R + b"\0")
        a = prf(skeyid, d + gxy + CKY_I + CKY_R + b"\1")
        e = prf(skeyid, a + gxy + CKY_I + CKY_R + b"\2")
        show(f"{label} SKEYID", skeyid)
        show(f"{label} SKEYID_d", d)
        show(f"{label} SKEYID_a", a)
        show(f"{label} SKEYID_e", e)
        show(f"{label} HASH_I", prf(skeyid, gxi + gxr + CKY_I + CKY_R + SAI + IDII))
        show(f"{label} HASH_R", prf(skeyid, gxr + gxi + CKY_R + CKY_I + SAI + IDIR))
        show(f"{label} IV", digest(gxi + gxr)[:16])
        show(f"{label} key 32", expand(e, 32))
        return d, a, e

    d, a, e = phase1("psk", prf(PSK, NI + NR), GXI, GXR, GXY)
    phase1("signatures", prf(NI + NR, GXY), GXI, GXR, GXY)
    phase1("encryption", prf(digest(NI + NR), CKY_I + CKY_R), GXI, GXR, GXY)
    phase1("dhless", prf(digest(NI + NR), CKY_I + CKY_R), Z, Z, Z)

    # What follows has the keys of the pre-shared key.
    show("key 24", expand(e, 24))
    show("key 16", expand(e, 16))
    show("exchange IV", digest(digest(GXI + GXR)[:16] + MID)[:16])
    show("HASH(1)", prf(a, MID + REST))
    show("HASH(2)", prf(a, MID + QNI + REST))
    show("HASH(3)", prf(a, Z + MID + QNI + QNR))
    for label, shared in [("KEYMAT", b""), ("KEYMAT PFS", QGXY)]:
        seed = shared + b"\3" + SPI + QNI + QNR
        block = b""
        out = b""
        while len(out) < 96:
            block = prf(d, block + seed)
            out += block
        show(label, out[:96])
    # RFC 2409 section 5.3, of the revised mode and without a key exchange.
    show("Ke_i", expand(prf(NI, CKY_I), 32))
    show("Ke_r", expand(prf(NR, CKY_R), 32))
    show("certificate HASH(1)", digest(CERT))
    # Its payloads: the key exchange, who it is, its certificate, one after the other.
    cipher = Cbc(expand(prf(NI, CKY_I), 32))
    for label, body in [("g^xi encrypted", GXI), ("IDii encrypted", IDII), ("certificate encrypted", CERT)]:
        show(label, cipher.encrypt(padded(body)))
    # The same without a key exchange: the first payload is who it is.
    show("dhless IDii encrypted", Cbc(expand(prf(NI, CKY_I), 32)).encrypt(padded(IDII)))
    show("dhless IDir encrypted", Cbc(expand(prf(NR, CKY_R), 32)).encrypt(padded(IDIR)))


def padded(body):
    """RFC 2409 section 5.3: zeros, and at the end their number."""
    zeros = 15 - len(body) % 16
    return body + b"\0" * zeros + bytes([zeros])


class Cbc:
    """AES-256 (FIPS 197) in CBC from an IV of zeros on; slow, and all its own."""

    def __init__(self, key):
        self.keys = expanded_key(key)
        self.iv = bytes(16)

    def encrypt(self, text):
        out = b""
        for at in range(0, len(text), 16):
            block = bytes(a ^ b for a, b in zip(text[at:at + 16], self.iv))
            self.iv = encrypted_block(self.keys, block)
            out += self.iv
        return out


def times(a, b):
    """The product in GF(2^8)."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = a << 1 ^ (0x11b if a & 0x80 else 0)
        b >>= 1
    return product


def substitution(octet):
    inverse = next((one for one in range(256) if times(octet, one) == 1), 0)
    out = 0x63
    for turn in range(5):
        out ^= inverse << turn & 0xff | inverse >> 8 - turn
    return out


SBOX = [substitution(octet) for octet in range(256)]


def expanded_key(key):
    words = [list(key[at:at + 4]) for at in range(0, len(key), 4)]
    constant = 1
    while len(words) < 60:
        word = words[-1]
        if len(words) % 8 == 0:
            word = [SBOX[octet] for octet in word[1:] + word[:1]]
            word[0] ^= constant
            constant = times(constant, 2)
        elif len(words) % 8 == 4:
            word = [SBOX[octet] for octet in word]
        words.append([a ^ b for a, b in zip(words[-8], word)])
    return [sum(words[at:at + 4], []) for at in range(0, 60, 4)]


def encrypted_block(keys, block):
    state = [a ^ b for a, b in zip(block, keys[0])]
    for number, key in enumerate(keys[1:]):
        state = [SBOX[state[at * 5 % 16]] for at in range(16)]
        if number < 13:
            columns = [state[at:at + 4] for at in range(0, 16, 4)]
            state = [times(c[row], 2) ^ times(c[(row + 1) % 4], 3) ^ c[(row + 2) % 4] ^ c[(row + 3) % 4]
                     for c in columns for row in range(4)]
        state = [a ^ b for a, b in zip(state, key)]
    return bytes(state)


main()
