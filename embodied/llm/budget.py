"""A spending limit around a chat model: calls, tokens, money."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from embodied.core.chat import ChatModel, Completion, Message, Usage
from embodied.core.errors import ChatModelError, ConfigError
from embodied.llm import checks

# What a chat template adds around each message, in tokens; generous.
MESSAGE_OVERHEAD = 16


@dataclass(frozen=True)
class Ledger:
    """What was spent.

    Attributes:
        calls: calls that were passed on, failed ones included.
        prompt_tokens: sum of what the servers counted.
        completion_tokens: sum of what the servers counted.
        unreported_prompt_tokens: upper bound for calls without a count (a server that gives none, or an
            answer that broke off); counts against the limits like the rest.
        unreported_completion_tokens: the same for the answers.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unreported_prompt_tokens: int = 0
    unreported_completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """All tokens that count against the limit."""
        return self.prompts + self.answers

    @property
    def prompts(self) -> int:
        """Prompt tokens, counted and unreported."""
        return self.prompt_tokens + self.unreported_prompt_tokens

    @property
    def answers(self) -> int:
        """Completion tokens, counted and unreported."""
        return self.completion_tokens + self.unreported_completion_tokens

    def plus(self, other: Ledger) -> Ledger:
        """The sum of two ledgers."""
        return Ledger(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


class Budget:
    """Refuses the call that could exceed a limit, before it is sent.

    A call is judged by an upper bound: one token per byte of the prompt (byte-level vocabularies cannot need
    more) and `n * max_tokens` for the answers. What is spent is what the server counted afterwards. So a
    limit is never exceeded by a call as such; attempts that broke off inside a retried call are added when it
    returns.
    """

    def __init__(
        self,
        inner: ChatModel,
        *,
        max_calls: int | None = None,
        max_tokens: int | None = None,
        max_usd: float | None = None,
        usd_per_million_prompt_tokens: float | None = None,
        usd_per_million_completion_tokens: float | None = None,
        spent: Mapping[str, int] | None = None,
    ) -> None:
        """Sets the limits; None means no limit of that kind.

        Args:
            inner: the model that is called.
            max_calls: calls in all.
            max_tokens: prompt and completion tokens in all.
            max_usd: money in all; needs both prices.
            usd_per_million_prompt_tokens: price from the provider's list.
            usd_per_million_completion_tokens: price from the provider's list.
            spent: `to_json()` of an earlier part of the same session.

        Raises:
            ConfigError: a limit is not positive, or money is limited without prices.
        """
        where = "Budget"
        self.inner = inner
        self.max_calls = None if max_calls is None else checks.positive_int(where, "max_calls", max_calls)
        self.max_tokens = None if max_tokens is None else checks.positive_int(where, "max_tokens", max_tokens)
        self.max_usd = None if max_usd is None else checks.positive(where, "max_usd", max_usd)
        self._prices = (
            _price("usd_per_million_prompt_tokens", usd_per_million_prompt_tokens, max_usd),
            _price("usd_per_million_completion_tokens", usd_per_million_completion_tokens, max_usd),
        )
        self.ledger = _ledger(spent or {})
        self._reserved = Ledger()
        self._lock = threading.Lock()

    @property
    def usd(self) -> float:
        """Money spent so far, by the given prices (0 without prices)."""
        return self._usd(self.ledger)

    def to_json(self) -> dict[str, int]:
        """The ledger as plain values, for a session that resumes."""
        return asdict(self.ledger)

    def complete(
        self, messages: Sequence[Message], n: int = 1, temperature: float = 0.0, max_tokens: int = 4096
    ) -> list[Completion]:
        """Passes the call on if its upper bound fits into what is left.

        Raises:
            ChatModelError: it does not fit (nothing was sent), or the inner model failed.
        """
        checks.request(messages, n, temperature, max_tokens)
        bound = Ledger(1, 0, 0, prompt_bound(messages), n * max_tokens)
        with self._lock:  # what other threads have under way counts as spent
            self._check(self.ledger.plus(self._reserved).plus(bound), bound)
            self._reserved = self._reserved.plus(bound)
        charge = Ledger(calls=1)
        try:
            answers = self.inner.complete(messages, n, temperature, max_tokens)
            cut_short = answers[0].provenance.get("cut_short", 0) if answers else 0
            charge = _charge([a.usage for a in answers], bound).plus(_unknown(bound, cut_short))
            return answers
        except ChatModelError as error:
            charge = Ledger(calls=1).plus(_unknown(bound, getattr(error, "cut_short", 0)))
            raise
        finally:
            with self._lock:
                self._reserved = self._reserved.plus(_negative(bound))
                self.ledger = self.ledger.plus(charge)

    def _check(self, total: Ledger, bound: Ledger) -> None:
        limits = (
            ("max_calls", self.max_calls, total.calls, bound.calls, "calls"),
            ("max_tokens", self.max_tokens, total.tokens, bound.tokens, "tokens"),
            ("max_usd", self.max_usd, self._usd(total), self._usd(bound), "US dollars"),
        )
        for name, limit, amount, this, unit in limits:
            if limit is not None and amount > limit:
                raise ChatModelError(
                    f"budget: this call could cost up to {this:.6g} {unit}, and {amount - this:.6g} of"
                    f" {name}={limit:g} are spent or under way; it was not sent. Raise {name}, or lower"
                    " max_tokens and n"
                )

    def _usd(self, ledger: Ledger) -> float:
        return (ledger.prompts * self._prices[0] + ledger.answers * self._prices[1]) / 1e6


def prompt_bound(messages: Sequence[Message]) -> int:
    """The most tokens that a conversation can have."""
    return sum(len(m.content.encode("utf-8", "surrogatepass")) + MESSAGE_OVERHEAD for m in messages)


def _charge(usages: Sequence[Usage], bound: Ledger) -> Ledger:
    prompts, answers = sum(u.prompt_tokens for u in usages), sum(u.completion_tokens for u in usages)
    if prompts == 0 and answers == 0:  # a server without counts must not be a way around the limit
        return bound
    return Ledger(1, prompts, answers)


def _unknown(bound: Ledger, times: int) -> Ledger:
    return Ledger(0, 0, 0, bound.unreported_prompt_tokens * times, bound.unreported_completion_tokens * times)


def _negative(ledger: Ledger) -> Ledger:
    return Ledger(*(-getattr(ledger, f.name) for f in fields(ledger)))


def _price(name: str, value: float | None, max_usd: float | None) -> float:
    if value is None:
        if max_usd is not None:
            raise ConfigError(
                f"Budget: max_usd={max_usd!r} needs {name} (0 is allowed), from the provider's price list"
            )
        return 0.0
    return 0.0 if value == 0 and not isinstance(value, bool) else checks.positive("Budget", name, value)


def _ledger(spent: Mapping[str, Any]) -> Ledger:
    known = [f.name for f in fields(Ledger)]
    for name, value in spent.items():
        if name not in known or isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(f"Budget: spent.{name}={value!r}; expected counts of {', '.join(known)}")
    return Ledger(**spent)
