"""`pairsim serve`."""

from __future__ import annotations

from pathlib import Path

from pairsim import __version__
from pairsim.cli.arguments import Device, Run, load_model
from pairsim.cli.output import expect, note
from pairsim.cli.signals import at_next_step
from pairsim.errors import RunError, printable


def serve(
    run: Run,
    /,
    *,
    gallery: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: Path | None = None,
    device: Device = "auto",
) -> None:
    """Serve the model over HTTP to other programs: compare, encode, and identify against a gallery.

    Concurrent requests are joined into batches. SIGTERM and Ctrl+C end the service when all requests that it has
    accepted are answered. What is not answered within 60 seconds is dropped, and counted in an error. To try a model by
    hand in the browser, see pairsim app.

    Args:
        gallery: Saved gallery to identify in, enrol in and remove from; or a new folder.
        host: Address or name of this machine to listen on. One that others can reach needs a token.
        port: Port; 0 for one that is free.
        token_file: File with the token that requests have to state as "Authorization: Bearer TOKEN"; by default the
            environment variable PAIRSIM_TOKEN, if there is one.
    """
    from pairsim.integrations.service.access import VARIABLE, is_loopback, read_token
    from pairsim.integrations.service.http_service import STOP_S, ServerThread, Service, listen
    from pairsim.search.gallery_files import is_gallery

    expect(0 <= port < 65536, f"--port from 0 to 65535, got {port}.")
    token = read_token(token_file)
    expect(
        token is not None or is_loopback(host),
        f"a token for --host {printable(host)}, which others can reach, found none. Give --token-file or {VARIABLE}, "
        "or leave --host out.",
    )
    model = load_model(run, device)
    with listen(host, port) as listening:
        service = Service(model, version=__version__, gallery=gallery, token=token, host=host)
        try:
            server = ServerThread(service, listening)
            at_next_step(server.stop)
            address = f"[{host}]" if ":" in host else host
            note(f"Serving on http://{address}:{listening.getsockname()[1]}; stop with Ctrl+C or SIGTERM.")
            if gallery is not None and not is_gallery(gallery):
                note(f"{printable(str(gallery))} is a new gallery: the first enrolment writes it.")
            server.join()
        finally:
            service.close()
    if service.num_dropped:
        raise RunError(
            f"Expected to answer every request that was accepted within {STOP_S} s, but {service.num_dropped:,} were "
            "dropped. Send them again."
        )
    note("Stopped: every request that was accepted is answered.")
