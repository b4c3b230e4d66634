"""Downloads one file over https, with a size limit, into a cache."""

import hashlib
import http.client
import os
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from seeds.checkpoints.errors import CheckpointError, reason, shown
from seeds.storage import replacing

_CHUNK, _TIMEOUT = 1 << 20, 30.0


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_url(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_url(url: str) -> None:
    """Raises CheckpointError unless `url` is an address, https, with a host and without a password."""
    if not (url.isascii() and url.isprintable()):
        raise CheckpointError(
            f"{shown(url)} is not fetched: an address is printable ASCII; write other characters as %XX."
        )
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise CheckpointError(f"{shown(url)} is not fetched: it is no address ({reason(error)}).") from error
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
        raise CheckpointError(
            f"{shown(url)} is not fetched: only https addresses are, without a user name, redirects included."
        )


def https_opener(transport: urllib.request.BaseHandler | None = None) -> urllib.request.OpenerDirector:
    """Speaks https and nothing else, with certificates checked; a proxy is taken from the environment. `transport`
    replaces the network."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        transport or urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _HttpsOnly(),
    ):
        opener.add_handler(handler)
    return opener


def cache_folder() -> Path:
    """$SEEDS_CACHE, or `seeds` in $XDG_CACHE_HOME, or ~/.cache/seeds."""
    if "SEEDS_CACHE" in os.environ:
        return Path(os.environ["SEEDS_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "seeds"


def fetch(
    url: str, max_bytes: int, *, progress: bool = True, opener: urllib.request.OpenerDirector | None = None
) -> Path:
    """The file at `url`, from the cache if it is there. Raises CheckpointError: not https, too large, cut short, not
    reachable."""
    check_url(url)
    name = "".join(
        c if c.isascii() and (c.isalnum() or c in "-._") else "_" for c in urlsplit(url).path.rpartition("/")[2]
    )
    folder = cache_folder()
    path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name[-80:] or 'file'}"
    try:
        if path.exists():
            return path
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{url} is not fetched: {folder}, the cache, cannot be used: {reason(error)}. Name another in $SEEDS_CACHE."
        ) from error
    try:
        with replacing(path, shared=True) as part, (opener or https_opener()).open(url, timeout=_TIMEOUT) as answer:
            _store(answer, part, url, max_bytes, progress)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{url} could not be fetched: {reason(error)}. Fetch it with another tool and convert the file."
        ) from error
    return path


def _store(answer: Any, part: Path, url: str, max_bytes: int, progress: bool) -> None:
    stated = answer.headers.get("Content-Length")
    size = int(stated) if stated and stated.isdecimal() else None
    too_large = CheckpointError(
        f"{url} is larger than `max_bytes` = {max_bytes:,} (--max-size). Raise it if you expect that."
    )
    if size is not None and size > max_bytes:
        raise too_large
    done = 0
    with (
        part.open("wb") as file,
        tqdm(total=size, unit="B", unit_scale=True, desc=part.name[18:61], disable=not progress) as bar,
    ):
        while chunk := answer.read(min(_CHUNK, max_bytes - done + 1)):
            done += len(chunk)
            if done > max_bytes:
                raise too_large
            file.write(chunk)
            bar.update(len(chunk))
    if size is not None and done != size:
        raise CheckpointError(f"{url} was cut short: {done:,} of {size:,} bytes came. Try again.")
