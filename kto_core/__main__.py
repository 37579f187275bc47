"""The commands of `python -m kto_core`: each training step on its own, without the orchestrator."""

import json
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
import yaml
from rich.console import Console

import kto_core
from kto_core.base.config import EvaluationConfig, KTOConfig, SFTConfig
from kto_core.base.config_base import Config, plain_types
from kto_core.base.exceptions import TrainingError
from kto_core.base.figures import DECIDING_FIGURE, SWEEP_FIGURES
from kto_core.base.objective_registry import COMPARED, COMPARED_HELP
from kto_core.base.progress import Report, TerminalReport
from kto_core.sweep.space import SWEPT, parse_space

C = TypeVar("C", bound=Config)
Command = Callable[..., None]
FOLDER = click.Path(path_type=Path)


def settings(kind: type[Config], *, but: Collection[str] = ()) -> Callable[[Command], Command]:
    """Add `--config FILE` and one option for each setting of `kind`; an omitted option stays out of `values`.

    Settings named in `but` can only be set in the file.
    """

    def decorate(command: Command) -> Command:
        for name, field in reversed(kind.model_fields.items()):
            if isinstance(field.default, Config) or name in but:
                continue  # a nested config can only be set in the file either
            shown = "none" if field.default is None else field.default
            command = click.option(
                f"--{name.replace('_', '-')}", type=_type(field.annotation), help=f"{field.description}  [{shown}]"
            )(command)
        return click.option(
            "--config", "config_file", type=FOLDER, help="JSON or YAML file of the settings below; options override it."
        )(command)

    return decorate


def _type(hint: Any) -> click.Choice[str] | type:  # noqa: ANN401 - a type hint is any object
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint))
    plain: type = plain_types(hint)[0]
    return plain


def build(kind: type[C], file: Path | None, values: Mapping[str, object]) -> C:
    """Build the config from a file and the options.

    Raises:
        TrainingError: if the file cannot be read as a mapping, or a setting is wrong.
    """
    from_file: dict[str, object] = {}
    if file is not None:
        try:
            content = yaml.safe_load(file.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise TrainingError(f"config {file} cannot be read: {' '.join(str(error).split())}") from error
        if not isinstance(content, dict):
            raise TrainingError(f"config {file} must hold settings by name, not {type(content).__name__}")
        from_file = content
    return kind.from_dict({**from_file, **{name: value for name, value in values.items() if value is not None}})


@contextmanager
def _terminal() -> Iterator[Report]:
    """Report a command's progress; the processes launched for it end when it succeeds."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with TerminalReport() as report:
        yield report
    kto_core.end_processes()


def _print(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """Train on labelled replies: SFT, KTO, evaluation, comparison, releases."""


@cli.command()
@click.option("--model", required=True, help="tiny, smollm2, or a model folder.")
@click.option("--rows", type=FOLDER, help="Parquet file or folder with prompt and completion, or a training set.")
@click.option("--store", type=FOLDER, default=Path("models"), show_default=True, help="Folder that keeps models.")
@settings(SFTConfig)
def sft(model: str, rows: Path | None, store: Path, config_file: Path | None, **values: object) -> None:
    """Make the reference: fine-tune MODEL on completions worth imitating. Prints the model folder."""
    config = build(SFTConfig, config_file, values)
    with _terminal() as report:
        folder = kto_core.train_sft(model=model, rows=rows, config=config, store=store, report=report)
    click.echo(folder)


@cli.command()
@click.option("--reference", type=FOLDER, required=True, help="Model folder to start from and compare with.")
@click.option("--training-set", type=FOLDER, required=True, help="Training-set folder.")
@click.option("--store", type=FOLDER, default=Path("models"), show_default=True, help="Folder that keeps models.")
@click.option(
    "--cache", type=FOLDER, default=Path("cache"), show_default=True, help="Folder of reference log-probabilities."
)
@settings(KTOConfig)
def train(
    reference: Path, training_set: Path, store: Path, cache: Path, config_file: Path | None, **values: object
) -> None:
    """Train a candidate by KTO, or by another objective on single rows. Prints the model folder."""
    config = build(KTOConfig, config_file, values)
    with _terminal() as report:
        folder = kto_core.train_kto(
            reference=reference, training_set=training_set, config=config, store=store, cache=cache, report=report
        )
    click.echo(folder)


@cli.command()
@click.option("--reference", type=FOLDER, required=True, help="Model folder of the reference.")
@click.option("--candidate", type=FOLDER, required=True, help="Model folder of the candidate.")
@click.option("--training-set", type=FOLDER, required=True, help="Training-set folder.")
@click.option("--cache", type=FOLDER, default=Path("cache"), show_default=True, help="Folder of log-probabilities.")
@settings(EvaluationConfig)
def evaluate(
    reference: Path, candidate: Path, training_set: Path, cache: Path, config_file: Path | None, **values: object
) -> None:
    """Score held-out rows under both models. Prints the figures as JSON."""
    config = build(EvaluationConfig, config_file, values)
    with _terminal() as report:
        figures = kto_core.evaluate(
            reference=reference,
            candidate=candidate,
            training_set=training_set,
            config=config,
            cache=cache,
            report=report,
        )
    _print(figures)


@cli.command()
@click.option("--reference", type=FOLDER, required=True, help="Model folder that every contestant starts from.")
@click.option("--training-set", type=FOLDER, required=True, help="Training-set folder with pairs.")
@click.option(
    "--objectives",
    default=",".join(COMPARED),
    show_default=True,
    help=COMPARED_HELP,
)
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Trainings of each contestant.")
@click.option("--max-rows", type=click.IntRange(min=2), default=4000, show_default=True, help="Held-out rows scored.")
@click.option("--store", type=FOLDER, default=Path("models"), show_default=True, help="Folder that keeps models.")
@click.option("--cache", type=FOLDER, default=Path("cache"), show_default=True, help="Folder of log-probabilities.")
@click.option("--out", type=FOLDER, default=Path("comparisons"), show_default=True, help="Folder of comparisons.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@settings(KTOConfig, but=("objective",))
def compare(
    reference: Path,
    training_set: Path,
    objectives: str,
    seeds: int,
    max_rows: int,
    store: Path,
    cache: Path,
    out: Path,
    as_json: bool,
    config_file: Path | None,
    **values: object,
) -> None:
    """Compare KTO on all rows with other objectives, on all rows or on the pairs: same reference, same budget."""
    from kto_core.comparison.comparison_table import show_comparison

    kto = build(KTOConfig, config_file, values)
    lengths = {name: getattr(kto, name) for name in ("max_prompt_tokens", "max_completion_tokens", "precision")}
    with _terminal() as report:
        result = kto_core.compare(
            reference=reference,
            training_set=training_set,
            kto=kto,
            objectives=[objective.strip() for objective in objectives.split(",")],
            seeds=seeds,
            evaluation=EvaluationConfig(max_rows=max_rows, **lengths),
            store=store,
            cache=cache,
            out=out,
            report=report,
        )
    if as_json:
        _print(result)
        return
    show_comparison(result, Console())
    click.echo(result["folder"])


@cli.command()
@click.option("--reference", type=FOLDER, required=True, help="Model folder that all trials start from.")
@click.option("--training-set", type=FOLDER, required=True, help="Training-set folder.")
@click.option("--beta", help="Values of β, as 0.1,0.3,1.  [a third of the file's, the file's, and three times it]")
@click.option("--undesirable-weight", help="Values of λ_U, as 0.5,1.  [half the file's, the file's, and twice it]")
@click.option("--learning-rate", help="Values of the learning rate.  [the file's]")
@click.option(
    "--sampler",
    type=click.Choice(["grid", "tpe"]),
    default="grid",
    show_default=True,
    help="Every combination, or draws between the least and the largest values, where trials were best.",
)
@click.option("--trials", type=click.IntRange(min=1), help="Trials in all.  [every combination, or 20 draws]")
@click.option(
    "--objective",
    default=DECIDING_FIGURE,
    show_default=True,
    help=f"The measure that decides which trial is best: {', '.join(SWEEP_FIGURES[:-1])} or {SWEEP_FIGURES[-1]}.",
)
@click.option("--max-rows", type=click.IntRange(min=2), default=4000, show_default=True, help="Held-out rows scored.")
@click.option("--keep-all", is_flag=True, help="Keep every trial's weights, not only those of the best.")
@click.option("--cache", type=FOLDER, default=Path("cache"), show_default=True, help="Folder of log-probabilities.")
@click.option("--out", type=FOLDER, default=Path("sweeps"), show_default=True, help="Folder of sweeps.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@settings(KTOConfig, but=(*SWEPT, "objective"))
def sweep(
    reference: Path,
    training_set: Path,
    beta: str | None,
    undesirable_weight: str | None,
    learning_rate: str | None,
    sampler: Literal["grid", "tpe"],
    trials: int | None,
    objective: str,
    max_rows: int,
    keep_all: bool,
    cache: Path,
    out: Path,
    as_json: bool,
    config_file: Path | None,
    **values: object,
) -> None:
    """Train KTO at several β, λ_U and learning rates, and measure each on held-out rows; run it again to resume."""
    from kto_core.sweep.sweep_table import show_sweep

    kto = build(KTOConfig, config_file, values)
    lengths = {name: getattr(kto, name) for name in ("max_prompt_tokens", "max_completion_tokens", "precision")}
    swept = {"beta": beta, "undesirable_weight": undesirable_weight, "learning_rate": learning_rate}
    with _terminal() as report:
        result = kto_core.run_sweep(
            reference=reference,
            training_set=training_set,
            config=kto,
            space=parse_space(swept, kto),
            sampler=sampler,
            trials=trials,
            objective=objective,
            evaluation=EvaluationConfig(max_rows=max_rows, **lengths),
            cache=cache,
            out=out,
            keep_all=keep_all,
            report=report,
        )
    if as_json:
        _print(result)
        return
    show_sweep(result, Console())
    click.echo(result["folder"])


@cli.command()
@click.option("--candidate", type=FOLDER, help="Model folder to bundle.")
@click.option("--training-set", type=FOLDER, help="Training set of the candidate.")
@click.option("--evaluation", type=FOLDER, help="JSON file that `evaluate` printed.")
@click.option(
    "--gate", type=FOLDER, help="JSON file with the gate's results; its `passed` decides whether promotion is allowed."
)
@click.option("--releases", type=FOLDER, default=Path("releases"), show_default=True, help="Folder of releases.")
@click.option("--promote", "promote_id", help="Make this release the champion; `new` is the one just bundled.")
@click.option("--force", is_flag=True, help="Promote even if the gate did not pass.")
@click.option("--rollback", "roll_back", is_flag=True, help="Go back to the previous champion.")
def release(
    candidate: Path | None,
    training_set: Path | None,
    evaluation: Path | None,
    gate: Path | None,
    releases: Path,
    promote_id: str | None,
    force: bool,
    roll_back: bool,
) -> None:
    """Bundle a candidate, promote a release, or roll back. Prints the release folder or the champion's."""
    if roll_back:
        click.echo(kto_core.rollback(releases))
        return
    name = promote_id
    if candidate is not None:
        if training_set is None or evaluation is None:
            raise TrainingError("a release needs --candidate, --training-set and --evaluation")
        folder = kto_core.write_release(
            candidate=candidate,
            training_set=training_set,
            evaluation=_json(evaluation),
            releases=releases,
            gate=_json(gate) if gate is not None else None,
        )
        click.echo(folder)
        name = folder.name if promote_id == "new" else promote_id
    elif promote_id is None:
        raise TrainingError("choose an action: --candidate to bundle a release, --promote ID, or --rollback")
    if name is not None:
        click.echo(kto_core.promote(releases, name, force=force))


@cli.command()
@click.option("--model", type=FOLDER, required=True, help="Model folder.")
@click.option("--prompt", required=True, help="The customer's message.")
@click.option("--system", help="A system message before it.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=128, show_default=True)
@click.option(
    "--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0: the likeliest answer."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def generate(model: Path, prompt: str, system: str | None, max_new_tokens: int, temperature: float, seed: int) -> None:
    """Generate a reply to a prompt."""
    turns: list[Any] = [{"role": "system", "content": system}] if system else []
    turns.append({"role": "user", "content": prompt})
    with _terminal():
        answers = kto_core.generate(model, [turns], max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    click.echo(answers[0])


def _json(file: Path) -> dict[str, object]:
    from kto_core.base.store import read_json

    return read_json(file)


def main() -> None:
    """Run the command; an error of the user ends in one sentence and exit code 1."""
    try:
        cli(prog_name="python -m kto_core")
    except TrainingError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
