"""Seals and opens IP packets with Scapy's IPsec layer: the jobs of `by_hand`, by another hand.

A job is a line of JSON on the standard input, its answer a line on the standard output:
{"packet": HEX}, {"error": TEXT}, or {"lacks": NAME} where Scapy has no such algorithm.
"""

import contextlib
import copy
import functools
import json
import logging
import re
import sys
import warnings

logging.getLogger("scapy").setLevel(logging.ERROR)
warnings.filterwarnings("ignore")

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import AH, AUTH_ALGOS, CRYPT_ALGOS, ESP, SecurityAssociation
from scapy.packet import bind_layers, raw, split_layers

# swanctl's words and Scapy's names.
AEAD = {"gcm": "AES-GCM", "ccm": "AES-CCM", "gmac": "AES-NULL-GMAC"}
ENCRYPTION = {
    r"aes\d+": "AES-CBC",
    r"aes\d+ctr": "AES-CTR",
    r"camellia\d+": "Camellia-CBC",
    r"camellia\d+ctr": "Camellia-CTR",
    "3des": "3DES",
    "des": "DES",
    r"blowfish\d+": "Blowfish",
    "cast128": "CAST",
    "null": "NULL",
}
INTEGRITY = {
    "sha256": "SHA2-256-128",
    "sha384": "SHA2-384-192",
    "sha512": "SHA2-512-256",
    "sha1": "HMAC-SHA1-96",
    "md5": "HMAC-MD5-96",
    "aescmac": "AES-CMAC-96",
    "aesxcbc": "AES-XCBC-96",
}


class ShortGcm:
    """AES-GCM with an ICV of less than 16 octets, which Scapy computes and then does not cut."""

    def __init__(self, icv_len, key):
        self.icv_len, self.key = icv_len, key

    def encrypt(self, nonce, data, aad):
        encryptor = Cipher(AES(self.key), GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(aad)
        text = encryptor.update(data) + encryptor.finalize()
        return text + encryptor.tag[: self.icv_len]

    def decrypt(self, nonce, data, aad):
        text, icv = data[: -self.icv_len], data[-self.icv_len :]
        mode = GCM(nonce, icv, min_tag_length=self.icv_len)
        decryptor = Cipher(AES(self.key), mode).decryptor()
        decryptor.authenticate_additional_data(aad)
        return decryptor.update(text) + decryptor.finalize()


for icv_len in (8, 12):
    CRYPT_ALGOS[f"AES-GCM-{icv_len}"] = short = copy.copy(CRYPT_ALGOS["AES-GCM"])
    short.cipher = functools.partial(ShortGcm, icv_len)


class Lacks(Exception):
    """Scapy has no algorithm of this name."""


def known(name, names):
    if name not in names:
        raise Lacks(name)
    return name


def algorithms(protocol, word):
    """What SecurityAssociation is told of a suite."""
    if protocol == "ah" and word.endswith("gmac"):
        raise Lacks("AES-GMAC in AH")
    if word.endswith("iiv"):
        raise Lacks("implicit IVs")
    if word == "chacha20poly1305":
        return {"crypt_algo": known("CHACHA20-POLY1305", CRYPT_ALGOS)}
    aead = re.fullmatch(r"aes\d+(gcm|ccm|gmac)(\d*)", word)
    if aead:
        icv_len = int(aead[2] or 16)
        name = AEAD[aead[1]]
        if name == "AES-GCM" and icv_len < 16:
            name = f"AES-GCM-{icv_len}"
        return {"crypt_algo": known(name, CRYPT_ALGOS), "crypt_icv_size": icv_len}
    encryption, _, integrity = word.rpartition("-")
    found = {"auth_algo": known(INTEGRITY[integrity], AUTH_ALGOS)}
    if encryption:
        names = (name for pattern, name in ENCRYPTION.items() if re.fullmatch(pattern, encryption))
        found["crypt_algo"] = known(next(names), CRYPT_ALGOS)
    return found


# One line for each protocol that Scapy has and we.
PROTOCOLS = {"esp": ESP, "ah": AH}


def association(job):
    """The SA of a job."""
    ip = IPv6 if ":" in job["from"] else IP
    more = algorithms(job["protocol"], job["suite"])
    if job["encryption"]:
        more["crypt_key"] = bytes.fromhex(job["encryption"])
    if job["integrity"]:
        more["auth_key"] = bytes.fromhex(job["integrity"])
    if not job["transport"]:
        more["tunnel_header"] = ip(src=job["from"], dst=job["to"])
    if job["udp"]:
        more["nat_t_header"] = UDP(sport=4500, dport=4500)
    if job["esn"]:
        more.update(esn_en=True, esn=job["sequence"] >> 32)
    return SecurityAssociation(PROTOCOLS[job["protocol"]], spi=job["spi"], **more)


def around(job):
    """The AH around the ESP of a job."""
    outer = {**job, **job["around"], "protocol": "ah", "transport": True, "udp": False}
    return association(outer)


@contextlib.contextmanager
def opaque_esp():
    """Makes ESP mere octets: Scapy would sign that, and not the AH in front of it."""
    places = ((IP, {"proto": 50}), (IPv6, {"nh": 50}))
    for ip, field in places:
        split_layers(ip, ESP, **field)
    try:
        yield
    finally:
        for ip, field in places:
            bind_layers(ip, ESP, **field)


def packet(octets):
    return (IPv6 if octets[0] >> 4 == 6 else IP)(octets)


def work(job):
    sa = association(job)
    given = packet(bytes.fromhex(job["packet"]))
    number = job["sequence"] & 0xFFFFFFFF
    bundle = job["around"] is not None
    if job["action"] == "open":
        if bundle:
            given = packet(raw(around(job).decrypt(given)))
        return raw(sa.decrypt(given))
    sealed = sa.encrypt(given, seq_num=number)
    if bundle:
        with opaque_esp():
            sealed = around(job).encrypt(packet(raw(sealed)), seq_num=number)
    return raw(sealed)


def answer(job):
    try:
        return {"packet": work(job).hex()}
    except Lacks as lack:
        return {"lacks": str(lack)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
