"""A twin that somebody else wrote: a program of its own environment, behind the same lines of JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn


@dataclass(frozen=True)
class ForeignTwin:
    """What to run in place of `robots.twin.serve`.

    Attributes:
        command: of the program; one more word follows, the settings as JSON.
        settings: what it is told besides `log`, `manual`, `seed` and `priority`.
    """

    command: tuple[str, ...]
    settings: Mapping[str, Any]

    def become(self, config: Mapping[str, Any]) -> NoReturn:
        """This process becomes the program: same pid, same pipes."""
        told = {**{key: value for key, value in config.items() if key != "twin"}, **self.settings}
        plain = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        os.execve(self.command[0], [*self.command, json.dumps(told)], plain)
