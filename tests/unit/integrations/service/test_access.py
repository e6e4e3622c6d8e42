"""Who may use the service."""

from __future__ import annotations

from pathlib import Path

import pytest

from pairsim.errors import RunError
from pairsim.integrations.service.access import Access, is_loopback, read_token

TOKEN = "0123456789abcdef-secret"


def test_the_token_of_a_file_or_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAIRSIM_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("PAIRSIM_TOKEN", f" {TOKEN}\n")
    assert read_token(None) == TOKEN
    (tmp_path / "token").write_text("another-token-of-a-file\n")
    assert read_token(tmp_path / "token") == "another-token-of-a-file"


@pytest.mark.parametrize("text", ["", "short", "sixteen letters and spaces", "sixteen-or-more-é", "x" * 5000])
def test_what_is_no_token(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"Expected a token of at least 16 ASCII characters .*token, found") as raised:
        read_token(tmp_path / "token")
    said = str(raised.value).partition(", found ")[2]
    assert said.startswith("another text. Make one with: ")  # it may be a secret with a typing error
    monkeypatch.setenv("PAIRSIM_TOKEN", text)
    with pytest.raises(ValueError, match="PAIRSIM_TOKEN"):
        read_token(None)


def test_a_token_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(RunError, match="Expected a file with a token at"):
            read_token(path)


def test_addresses_of_this_machine_alone() -> None:
    for host in ("127.0.0.1", "127.0.0.5", "::1", "localhost"):
        assert is_loopback(host), host
    for host in ("0.0.0.0", "::", "", "192.0.2.1", "no such name.invalid", "x" * 300):
        assert not is_loopback(host), host


def test_the_token_is_asked_of_everybody() -> None:
    access = Access(TOKEN)
    assert access.refusal({b"authorization": f"Bearer {TOKEN}".encode(), b"host": b"pictures.example"}) is None
    assert access.refusal({b"authorization": f"bearer  {TOKEN} ".encode()}) is None
    for stated in ("", "Bearer", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff"):
        refused = access.refusal({b"authorization": stated.encode("latin-1"), b"host": b"127.0.0.1"})
        assert refused is not None
        assert refused[0] == 401
        assert TOKEN not in refused[1]


def test_the_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return True

    monkeypatch.setattr("hmac.compare_digest", compare)
    assert Access(TOKEN).refusal({b"authorization": b"Bearer x"}) is None
    assert compared == [(b"x", TOKEN.encode())]


def test_the_address_that_it_listens_on_is_of_this_machine() -> None:
    for host, known in (("127.0.0.2", b"127.0.0.2:8000"), ("IP6-localhost", b"ip6-localhost"), ("::1", b"[::1]:80")):
        assert Access(None, host).refusal({b"host": known, b"origin": b"http://" + known}) is None
        assert Access(None, host).refusal({b"host": b"localhost:1"}) is None
        found = Access(None, host).refusal({b"host": b"127.0.0.3"})
        assert found is not None
        assert found[0] == 403
    assert Access(None).refusal({b"host": b""}) is not None


def test_without_a_token_pages_of_other_sites_are_refused() -> None:
    access = Access(None)
    for host in (b"127.0.0.1:8000", b"localhost", b"LOCALHOST:1", b"[::1]:8000"):
        assert access.refusal({b"host": host}) is None
        assert access.refusal({b"host": host, b"origin": b"http://localhost:3000"}) is None
        for origin in (b"https://evil.example", b"null", b"", b"http://localhost.evil.example", b"http://[::1"):
            refused = access.refusal({b"host": host, b"origin": origin})
            assert refused is not None
            assert refused[0] == 403
    for host in (b"evil.example", b"", b"127.0.0.1.evil.example", b"[::1"):
        refused = access.refusal({b"host": host})
        assert refused is not None
        assert refused[0] == 403
