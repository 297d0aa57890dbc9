"""What is asked of a probe, and what it found."""

from __future__ import annotations

from dataclasses import dataclass, field

from portal import outbound
from portal.clouds.base import Check


@dataclass(frozen=True)
class Question:
    """A catalog to try. ``seconds`` are for the whole of it; ``endpoint`` replaces the service's own address (tests);
    ``private`` says which private networks may be reached (``portal.outbound``)."""

    kind: str
    settings: dict[str, str]
    secret: dict[str, str]
    seconds: float
    private: str
    endpoint: str = ""


@dataclass
class Findings:
    """The checks so far, in order."""

    checks: list[Check] = field(default_factory=list)

    def passed(self, name: str, detail: str) -> None:
        """That much works."""
        self.checks.append(Check(name, True, detail[:1000]))

    def failed(self, name: str, detail: str, hint: str) -> None:
        """That does not, and what to do."""
        self.checks.append(Check(name, False, detail[:1000], hint))


def refusal_of_host(host: str, port: int, question: Question) -> str:
    """Why a host cannot be asked: it has no address, or one that only the portal can reach. Empty where it can."""
    try:
        outbound.resolve(host, port, question.private)
    except outbound.AddressNotAllowedError as error:
        return f"{str(error).rstrip('.')}, which the operator of this portal does not allow."
    except OSError as error:
        return f"{host} has no address: {error}."
    return ""
