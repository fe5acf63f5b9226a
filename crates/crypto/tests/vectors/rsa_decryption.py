#!/usr/bin/env python3
"""Computes rsa_decryption.json with OpenSSL 3.2 or newer, by way of the `cryptography` package.

PKCS#1 v1.5 there has implicit rejection by default (draft-irtf-cfrg-rsa-guidance), so that what it gives
for octets that are no ciphertext is a known answer, too. Each run draws another key.
"""

import json
import os

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

PKCS1 = padding.PKCS1v15()
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


def cases(key):
    public = key.public_key()
    numbers = public.public_numbers()
    octets = key.key_size // 8

    def raw(encoded):
        return pow(int.from_bytes(encoded, "big"), numbers.e, numbers.n).to_bytes(octets, "big")

    def case(name, scheme, ciphertext):
        message = key.decrypt(ciphertext, PKCS1 if scheme == "pkcs1" else OAEP)
        return {"name": name, "padding": scheme, "ciphertext": ciphertext.hex(), "message": message.hex()}

    for length in (0, 1, 32, octets - 11):
        yield case("genuine", "pkcs1", public.encrypt(os.urandom(length), PKCS1))
    for length in (0, 1, 32, octets - 66):
        yield case("genuine", "oaep", public.encrypt(os.urandom(length), OAEP))
    filler = b"\x11" * (octets - 3 - 32)
    message = b"\x22" * 32
    good = b"\0\2" + filler + b"\0" + message
    yield case("genuine", "pkcs1", raw(good))
    wrong = {
        "first octet": b"\1" + good[1:],
        "block type 1": b"\0\1" + good[2:],
        "block type 0": b"\0\0" + good[2:],
        "no separator": b"\0\2" + b"\x33" * (octets - 2),
        "zero as first octet of the padding": b"\0\2\0" + good[3:],
        "seven octets of padding": b"\0\2" + b"\x11" * 7 + b"\0" + b"\x33" * (octets - 10),
        "separator at the end of nothing": b"\0" * octets,
        "one": b"\0" * (octets - 1) + b"\1",
    }
    for name, encoded in wrong.items():
        yield case(name, "pkcs1", raw(encoded))
    yield case("eight octets of padding", "pkcs1", raw(b"\0\2" + b"\x11" * 8 + b"\0" + b"\x33" * (octets - 11)))
    for _ in range(12):
        yield case("random", "pkcs1", raw(b"\0\3" + os.urandom(octets - 2)))


def main():
    sections = []
    for bits in (2048, 3072):
        key = rsa.generate_private_key(65537, bits)
        der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption())
        sections.append({"key": der.hex(), "tests": list(cases(key))})
    print(json.dumps({
        "origin": "computed with OpenSSL by rsa_decryption.py beside this file, with keys made for it",
        "licence": "none needed",
        "changes": "key is PKCS#8",
        "algorithm": "RSA",
        "testGroups": sections,
    }, indent=1))


main()
