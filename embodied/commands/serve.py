"""`embodied serve`: a fitted policy over a websocket."""

from __future__ import annotations

from pathlib import Path

HELP = """embodied serve policy=<run folder of fit> [key=value ...]

Answers observations with chunks of actions over a websocket (msgpack, no pickle), on the loopback interface unless told
otherwise. `embodied.deploy.policy_client.PolicyClient` is the client; it needs neither torch nor MuJoCo.

  host=127.0.0.1  port=8000
  token_env=EMBODIED_POLICY_TOKEN    name of the variable with the token that clients must give; must be set for
                                     another host than loopback
  think_every=1                      chunks between two spoken reasonings
  device=cpu                         or cuda

examples:
  embodied serve policy=runs/2026-01-31/12-00-00-diffusionvla-1a2b
"""


def run(arguments: list[str]) -> int:
    """Runs the command."""
    from embodied.commands.compose import run_composed

    return run_composed("serve", arguments, execute)


def execute(composed) -> int:
    """Runs one composed configuration, until interrupted."""
    import os

    import torch

    from embodied.core.errors import ConfigError
    from embodied.deploy.policy_server import PolicyServer
    from embodied.policies.checkpoint import load_parts
    from embodied.policies.vla_policy import VLAPolicy

    config = composed.config
    token = os.environ.get(config["token_env"]) or None
    if token is None and config["host"] not in ("127.0.0.1", "localhost", "::1"):
        raise ConfigError(f"host={config['host']} is reachable from outside: set ${config['token_env']} to a token")
    torch.set_num_threads(int(config["n_threads"]))
    folder = Path(config["policy"])
    folder = folder / "policy" if (folder / "policy").is_dir() else folder
    model, architecture, normalization = load_parts(folder, composed.trusted_packages)
    try:
        model = model.to(config["device"])
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device={config['device']}: {str(error).splitlines()[0]}") from None
    about = {
        "action_size": architecture.action_size,
        "chunk_size": architecture.chunk_size,
        "n_action_steps": architecture.n_action_steps,
        "fps": architecture.fps,
        "policy": folder.parent.name,
    }
    server = PolicyServer(
        lambda: VLAPolicy(model, architecture, normalization, think_every=config["think_every"]),
        about,
        host=config["host"],
        port=int(config["port"]),
        token=token,
    )
    print(f"policy {folder} at ws://{config['host']}:{server.port} (Ctrl-C ends)", flush=True)
    server.start()
    try:
        server.wait()
    finally:
        server.close()
    return 0
