from hypothesis import example, given
from hypothesis import strategies as st

from training_worker.progress_lines import Progress, log_progress

WORD = st.from_regex(r"[a-z_]+", fullmatch=True)


@given(
    stage=st.from_regex(r"[a-z_]+( [a-z_]+)?", fullmatch=True),
    done=st.integers(0, 10**9),
    total=st.integers(0, 10**9),
    unit=st.from_regex(r"[a-z]+", fullmatch=True),
    figures=st.dictionaries(WORD, st.floats(-1e9, 1e9), max_size=3),
)
def test_a_line_that_is_logged_is_read_back(
    stage: str, done: int, total: int, unit: str, figures: dict[str, float]
) -> None:
    read = Progress.parse(str(Progress(stage, done, total, unit, figures)))
    assert read is not None
    assert (read.stage, read.done, read.total, read.unit) == (stage, done, total, unit)
    assert read.figures == {name: float(f"{value:.6g}") for name, value in figures.items()}


@given(st.text())
@example("kto: 1/2 steps (for example)")
def test_any_other_line_is_no_progress_or_reads_as_itself(line: str) -> None:
    read = Progress.parse(line)
    assert read is None or Progress.parse(str(read)) is not None


def test_lines_are_paced_and_the_last_is_always_written() -> None:
    lines: list[str] = []
    report = log_progress(lines.append)
    for done in range(1, 1001):
        report("kto", done, 1000, "steps", loss=0.5)
    assert lines[0] == "kto: 1/1000 steps (loss 0.5)"
    assert lines[-1] == "kto: 1000/1000 steps (loss 0.5)"
    assert len(lines) < 5
