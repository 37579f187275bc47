"""The search space of a sweep: values of β, λ_U and the learning rate."""

import itertools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kto_core.base.config import KTOConfig
from kto_core.base.exceptions import TrainingError

Space = Mapping[str, tuple[float, ...]]
"""Values by setting, rising."""

# Each with its name in tables and figures.
SWEPT: Final[Mapping[str, str]] = MappingProxyType(
    {"beta": "β", "undesirable_weight": "λ_U", "learning_rate": "learning rate"}
)
# Default values of β and λ_U, as multiples of the base's.
_AROUND: Final = {"beta": (1 / 3, 1.0, 3.0), "undesirable_weight": (0.5, 1.0, 2.0)}


def parse_space(texts: Mapping[str, str | None], base: KTOConfig) -> Space:
    """Read values from text such as `0.05,0.1,0.3`; without text, β and λ_U get values around the base's.

    Raises:
        TrainingError: if a text is not a list of numbers that the setting accepts.
    """
    space: dict[str, tuple[float, ...]] = {}
    for name in SWEPT:
        text = texts.get(name)
        if text is not None:
            try:
                space[name] = tuple(_value(name, part, base) for part in text.split(","))
            except TrainingError as error:
                raise TrainingError(
                    f"{name} of a sweep must be numbers with commas between them, such as 0.1,0.3,1; {error}"
                ) from None
        elif name in _AROUND:
            middle = getattr(base, name)
            space[name] = tuple(middle if by == 1 else float(f"{middle * by:.2g}") for by in _AROUND[name])
    return space


def checked(space: Mapping[str, tuple[float, ...]], base: KTOConfig) -> Space:
    """Check the space and return it with each value once, in rising order.

    Raises:
        TrainingError: if it is empty, names another setting, or holds a value that the setting does not accept.
    """
    if not space or not all(space.values()):
        raise TrainingError(f"a sweep needs values of some setting: {', '.join(SWEPT)}")
    if unknown := sorted(set(space) - set(SWEPT)):
        raise TrainingError(f"a sweep cannot vary {', '.join(unknown)}; it varies {', '.join(SWEPT)}")
    return {
        name: tuple(sorted({_value(name, value, base) for value in space[name]})) for name in SWEPT if name in space
    }


def cells(space: Space) -> list[dict[str, float]]:
    """Return every combination of values."""
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def _value(name: str, value: float | str, base: KTOConfig) -> float:
    """Return the value as the setting stores it. Raises TrainingError if the setting refuses it."""
    stored: float = getattr(base.replace(**{name: value}), name)
    return stored


def settings_text(settings: Mapping[str, float]) -> str:
    """Write settings as text: `β 0.1, λ_U 1.8`."""
    return ", ".join(f"{SWEPT[name]} {value:.4g}" for name, value in settings.items())
