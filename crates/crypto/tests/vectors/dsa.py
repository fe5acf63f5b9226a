#!/usr/bin/env python3
"""Computes dsa.json with the program openssl (3.0), which draws other keys and signs otherwise each time.

A signature is of the octets themselves, as those of IKEv1 are (RFC 2409 section 5.1), and is turned from
DER into r followed by s.
"""

import json
import os
import subprocess


def openssl(*words, given=b""):
    return subprocess.run(["openssl", *words], input=given, stdout=subprocess.PIPE, check=True).stdout


def element(octets):
    """One element of DER and what stands behind it: the whole, its contents, the rest."""
    length, header = octets[1], 2
    if length & 0x80:
        header += length & 0x7F
        length = int.from_bytes(octets[2:header], "big")
    return octets[: header + length], octets[header : header + length], octets[header + length :]


def fixed(signature, octets):
    _, r, rest = element(element(signature)[1])
    s = element(rest)[1]
    return b"".join(int.from_bytes(one, "big").to_bytes(octets, "big") for one in (r, s))


def group(bits, order):
    parameters = openssl("genpkey", "-genparam", "-algorithm", "DSA", "-pkeyopt", f"dsa_paramgen_bits:{bits}",
                         "-pkeyopt", f"dsa_paramgen_q_bits:{order}")
    with open("parameters.pem", "wb") as file:
        file.write(parameters)
    key = openssl("genpkey", "-paramfile", "parameters.pem")
    with open("key.pem", "wb") as file:
        file.write(key)
    # PrivateKeyInfo: version, AlgorithmIdentifier, the private value in an OCTET STRING.
    _, inner, _ = element(openssl("pkcs8", "-topk8", "-nocrypt", "-outform", "DER", given=key))
    _, _, inner = element(inner)
    _, algorithm, inner = element(inner)
    _, _, group_octets = element(algorithm)
    _, private, _ = element(inner)
    # SubjectPublicKeyInfo: AlgorithmIdentifier, the public value in a BIT STRING.
    _, info, _ = element(openssl("pkey", "-pubout", "-outform", "DER", given=key))
    _, _, info = element(info)
    public = element(info)[1][1:]
    tests = []
    for octets in (16, 20, 20, 32, 64):
        digest = os.urandom(octets)
        with open("digest", "wb") as file:
            file.write(digest)
        signature = openssl("pkeyutl", "-sign", "-inkey", "key.pem", "-in", "digest")
        tests.append({"hash": digest.hex(), "sig": fixed(signature, order // 8).hex()})
    return {"bits": bits, "order": order, "parameters": group_octets.hex(), "public": public.hex(),
            "private": private.hex(), "tests": tests}


vectors = {
    "origin": "computed with OpenSSL by dsa.py beside this file, with keys made for it",
    "licence": "none needed",
    "changes": "parameters is Dss-Parms, public and private are INTEGERs, sig is r followed by s",
    "algorithm": "DSA",
    "testGroups": [group(bits, order) for bits, order in ((1024, 160), (2048, 224), (2048, 256), (3072, 256))],
}
with open("dsa.json", "w") as file:
    json.dump(vectors, file, indent=1)
    file.write("\n")
