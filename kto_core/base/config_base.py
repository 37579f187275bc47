"""Base class of all configs: pydantic checks them, and a wrong setting raises a `TrainingError` of one sentence.

A setting is a field with its type, its default and its help text, which the command line prints too. Types are strict:
a bool is not an int, and text is not a number. Only a float setting also takes a whole number or text of a number,
because YAML reads 1e-4, without a point, as text.
"""

import difflib
import typing
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from kto_core.base.exceptions import TrainingError

Natural = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]

_BOUNDS: Final = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
}
_UNKNOWN: Final = ("extra_forbidden", "invalid_key")


class Config(BaseModel):
    """Immutable settings, checked on construction.

    `to_dict` is part of the ids of models, sweeps and comparisons, so ids change where a name, a default or a number's
    type changes. Declare later settings by `added`, which keeps earlier ids.

    Raises:
        TrainingError: names a setting that does not exist, has the wrong type or is out of bounds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """Build from JSON or YAML values. Raises TrainingError as the class does."""
        return cls.model_validate(dict(values))

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as JSON values, except `added` ones at their default; `from_dict` reads them back."""
        return self.model_dump()

    def replace(self, /, **changes: object) -> Self:
        """Return the settings with `changes`. Raises TrainingError as the class does."""
        return self.from_dict({**self.to_dict(), **changes})

    @field_validator("*", mode="before")
    @classmethod
    def _as_float(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, int | str) and not isinstance(value, bool):
            kinds = plain_types(cls.model_fields[str(info.field_name)].annotation)
            if float in kinds:
                with suppress(ValueError, OverflowError):
                    return float(value)
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_sentence(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401 - a person's
        try:
            return handler(dict(values) if isinstance(values, Mapping) else values)
        except ValidationError as error:
            if not isinstance(values, Mapping):
                raise  # the config that this one is nested in names the setting
            raise TrainingError(_say(cls, error)) from None


def added(default: object, description: str) -> Any:  # noqa: ANN401 - as pydantic's Field
    """Declare a field that `to_dict` omits at its default, so that results from before it keep their ids."""
    return Field(default, description=description, exclude_if=lambda value: value == default)


def plain_types(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a type hint is any object
    """Return the types that a hint allows, without their bounds: (float, NoneType) of `Positive | None`."""
    if typing.get_origin(hint) is Annotated:
        return plain_types(typing.get_args(hint)[0])
    if typing.get_origin(hint) is Literal or not typing.get_args(hint):
        return (hint,)
    return tuple(kind for option in typing.get_args(hint) for kind in plain_types(option))


def did_you_mean(names: typing.Iterable[str], known: typing.Collection[str]) -> str | None:
    """Return `did you mean …?` with the nearest known name of each, or None if a name has no near one."""
    near = [difflib.get_close_matches(name, known, n=1) for name in names]
    return f"did you mean {', '.join(match[0] for match in near)}?" if all(near) else None


def _say(config: type[Config], error: ValidationError) -> str:
    """Return the message: unknown settings, or else the first wrong setting."""
    faults = error.errors(include_url=False)
    known = config.model_fields
    if unknown := sorted(str(fault["loc"][0]) for fault in faults if fault["type"] in _UNKNOWN):
        advice = did_you_mean(unknown, known) or f"it knows {', '.join(sorted(known))}"
        return f"{config.__name__} has no setting {', '.join(map(repr, unknown))}; {advice}"
    fault = faults[0]
    name, value = str(fault["loc"][0]), fault["input"]
    where, hint = f"{config.__name__}.{name}", known[name].annotation
    if fault["type"] in _BOUNDS:
        word, bound = _BOUNDS[fault["type"]]
        return f"{where} must be {word} {fault['ctx'][bound]:g}, not {value}"
    if fault["type"] == "finite_number":
        return f"{where} must be a finite number, not {value}"
    if fault["type"] == "literal_error":
        return f"{where} must be one of {', '.join(map(repr, typing.get_args(hint)))}, not {value!r}"
    kinds = ("nothing" if kind is type(None) else kind.__name__ for kind in plain_types(hint))
    return f"{where} must be of type {' or '.join(kinds)}, not {value!r}"
