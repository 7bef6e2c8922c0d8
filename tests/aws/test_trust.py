"""Whom the worker believes to be AWS: who has a certificate for it, also at the other end of a proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from worker.aws.session import Credentials, open_clients
from worker.config import Lane
from worker.errors import AwsError

REGION = "us-east-1"
STS = f"sts.{REGION}.amazonaws.com"
ACCOUNT = "123456789012"
PROFILES = f"""
[profile keys]
aws_access_key_id = AKIDEXAMPLE
aws_secret_access_key = secret
[profile role]
role_arn = arn:aws:iam::{ACCOUNT}:role/moderation
source_profile = keys
"""
KEYS = Credentials("AKIDEXAMPLE", "secret")
TUNNEL = b"HTTP/1.1 200 Connection established\r\n\r\n"
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/xml\r\nConnection: close\r\n\r\n"
REASON = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"


def certified(folder: Path, host: str) -> Path:
    """A certificate for the host, signed by itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, der = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = folder / f"{host}.pem"
    path.write_bytes(certificate.public_bytes(pem) + key.private_bytes(pem, der, serialization.NoEncryption()))
    return path


class Tunnel:
    """A proxy that gives itself out as whatever host it is asked for; hears the first line of each request."""

    def __init__(self, certificate: Path) -> None:
        self.heard: list[str] = []
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        await reader.readuntil(b"\r\n\r\n")
        writer.write(TUNNEL)
        try:
            await writer.start_tls(self._context)
            self.heard.append((await reader.readline()).decode().strip())
            writer.write(REFUSAL + REASON)
            await writer.drain()
        except OSError:  # whoever asked has hung up
            pass
        finally:
            writer.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """What nobody has signed who is known."""
    return certified(tmp_path, STS)


@pytest.fixture
async def tunnel(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tunnel]:
    """The proxy of this process."""
    tunnel = Tunnel(certificate)
    server = await asyncio.start_server(tunnel.answer, "127.0.0.1", 0)
    async with server:
        for name in ("NO_PROXY", "no_proxy", "https_proxy", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield tunnel


async def refused(given: Credentials | None = KEYS, profile: str | None = None) -> str:
    """How the opening of a lane on AWS ends, which nobody answers as AWS would."""
    lane = Lane(region=REGION, queue_url=f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/moderation", profile=profile)
    with pytest.raises(AwsError) as refusal:
        async with open_clients(lane, given):
            pass
    return str(refusal.value)


@pytest.mark.parametrize("bundle", [None, ""])
async def test_nobody_is_taken_for_aws_behind_a_proxy(
    tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch, bundle: str | None
):
    """A signed request is sent to none but AWS, whoever answers at the other end, also where a variable is empty."""
    if bundle is not None:
        monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
    assert "CERTIFICATE_VERIFY_FAILED" in await refused()
    assert tunnel.heard == []


async def test_nobody_is_given_a_profiles_keys_behind_a_proxy(
    tunnel: Tunnel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What the SDK itself calls, to assume a profile's role, goes to none but AWS either."""
    config = tmp_path / "config"
    config.write_text(PROFILES)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert "CERTIFICATE_VERIFY_FAILED" in await refused(given=None, profile="role")
    assert tunnel.heard == []


async def test_certificates_of_the_operators_are_trusted(
    tunnel: Tunnel, certificate: Path, monkeypatch: pytest.MonkeyPatch
):
    """AWS_CA_BUNDLE names the certificates of a network that looks into what leaves it."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    assert "AccessDenied" in await refused()
    assert tunnel.heard == ["POST / HTTP/1.1"]
