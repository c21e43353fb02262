"""The page: ``README.md`` beside the results, made of what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import median

from benchmarks.bars import BARS, MEBIBYTE, Parts
from benchmarks.contenders import DEFAULT, POSTGRES_ALONE, REDIS_ALONE
from benchmarks.parts.quality import UNMEASURED
from benchmarks.parts.wide import DIMENSIONS, EMBEDDING, FEATURES, WIDE
from benchmarks.results import Results, read
from benchmarks.settings import REFERENCE_ENTITIES

HASH = (
    "Layout hash is that of the same commit; in commit ceac4b6, when it was the default and copied packed hashes, it "
    "took 7.77 s for 1,000,000 entities, where Feast took 131.42 s, and 459 bytes sent and 466 bytes kept for each."
)
BUSY = 0.5  # a load before the run with which the benchmark has fewer than two cores
PARTS = (
    "reference", "scaling", "reading", "pushing", "generations", "wide", "quality", "processes", "commits", "imports",
    "catalog",
)  # fmt: skip
SWEEPS = {
    "entities": "Entities",
    "history": "Rows of history per entity",
    "changed": "Share of entities changed since the last run, incremental",
    "features": "Features per entity",
    "text": "Characters in one feature of text",
    "record": "Records of 1 kB: ten features of 100 characters",
}


def write(output: Path) -> Path:
    """Write the page and return its path."""
    parts = {part: results for part in PARTS if (results := read(output / "results" / f"{part}.jsonl"))}
    sections = [_text("introduction"), _machine(parts), _bars(parts)]
    writers = {
        "reference": _reference,
        "scaling": _scaling,
        "reading": _reading,
        "pushing": _pushing,
        "generations": _generations,
        "wide": _wide,
        "quality": _quality,
        "processes": _processes,
        "commits": _commits,
        "imports": _imports,
        "catalog": _catalog,
    }
    sections += [writers[part](results, output) for part, results in parts.items()]
    path = output / "README.md"
    path.write_text("\n\n".join([*sections, _text("method")]) + "\n", encoding="utf-8")
    return path


def _text(name: str) -> str:
    return files("benchmarks").joinpath(f"{name}.md").read_text(encoding="utf-8").strip()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ruler, *rows))


def _machine(parts: Parts) -> str:
    """Return what the parts were measured on: first what is common to all, then what differs."""
    contexts = {part: _flat(results) for part, results in parts.items()}
    names = dict.fromkeys(name for context in contexts.values() for name in context)
    facts = {name: [context.get(name, "–") for context in contexts.values()] for name in names}
    common = [[name, values[0]] for name, values in facts.items() if len(set(values)) == 1]
    different = [[name, *values] for name, values in facts.items() if len(set(values)) > 1]
    tables = [_table(["", "all parts"], common), _table(["", *contexts], different)]
    return "\n\n".join(["## Where and with what", *tables])


def _flat(results: Results) -> dict[str, str]:
    context = dict(results.context)
    settings = context.pop("settings")
    sizes = {f"BENCH_{name.upper()}": f"{value:,}" if isinstance(value, int) else str(value or "default")
             for name, value in settings.items() if name not in ("small", "work_mem")}  # fmt: skip
    return {name: str(value) for name, value in context.items()} | sizes


def _bars(parts: Parts) -> str:
    rows = []
    for bar in BARS:
        figure = bar.measured(parts)
        shown = ["not measured", ""] if figure is None else [_short(figure) + bar.unit, _yes(bar.holds(figure))]
        rows.append([bar.what, bar.in_words(), *shown])
    return f"## Bars\n\n{_caveat(parts)} {HASH}\n\n" + _table(["", "bar", "measured", "holds"], rows)


def _caveat(parts: Parts) -> str:
    """Return how far the figures can be compared with the bars."""
    words = [f"The bars are meant for {REFERENCE_ENTITIES:,} entities on a machine that does nothing else."]
    if "reference" in parts:
        context = parts["reference"].context
        if (entities := context["settings"]["entities"]) < REFERENCE_ENTITIES:
            words.append(f"This run had {entities:,}, so what a run costs in itself weighs more.")
        if (load := float(context["load before"])) >= BUSY:
            words.append(f"Other work kept the machine at a load of {load}, so figures are rough.")
    return " ".join(words)


def _yes(holds: bool) -> str:
    return "yes" if holds else "**no**"


def _reference(results: Results, _output: Path) -> str:
    head = ["", "seconds", "least–greatest", "CPU s: process", "Postgres", "Redis",
            "peak MiB", "sent to Redis, MB", "Redis, bytes per entity"]  # fmt: skip
    rows = []
    for contender in results.values("contender"):

        def figure(field: str, contender: str = contender) -> float:
            return results.median(field, contender=contender) or 0.0

        is_floor = contender in (REDIS_ALONE, POSTGRES_ALONE)
        rows.append([
            contender, f"{figure('seconds'):.2f}", _spread(results, contender),
            *(f"{figure(f'cpu_{who}'):.2f}" for who in ("process", "postgres", "redis")),
            "–" if is_floor else f"{figure('peak_bytes') / MEBIBYTE:.0f}",
            *(["–", "–"] if contender == POSTGRES_ALONE else
              [f"{figure('bytes_to_redis') / 1e6:.1f}", f"{figure('redis_bytes_per_entity'):.0f}"]),
        ])  # fmt: skip
    shape = results.records[0]
    size = f"{shape['entities']:,} entities, {shape['history']} rows of history each, {shape['features']} features"
    return f"## Full runs, side by side\n\n{size}.\n\n{_table(head, rows)}"


def _spread(results: Results, contender: str) -> str:
    seconds = [record["seconds"] for record in results.where(contender=contender)]
    return f"{min(seconds):.2f}–{max(seconds):.2f}"


def _scaling(results: Results, output: Path) -> str:
    sections = ["## Scaling"]
    for sweep, title in SWEEPS.items():
        sections += [f"### {title}", _sweep(results, sweep)]
        if (output / "plots" / f"{sweep}.svg").exists():
            sections.append(f"![{title}](plots/{sweep}.svg)")
    return "\n\n".join(sections)


def _sweep(results: Results, sweep: str) -> str:
    contenders = results.values("contender", sweep=sweep)
    head = ["", "rows", *(f"{contender}: s / peak MiB" for contender in contenders)]
    rows = []
    for value in results.values("value", sweep=sweep):
        first = results.where(sweep=sweep, value=value)[0]
        cells = [_cell(results, sweep=sweep, value=value, contender=contender) for contender in contenders]
        shown = f"{value:,.1%}" if sweep == "changed" and not isinstance(value, str) else _short(value)
        rows.append([shown, f"{first['entities'] * first['history']:,}", *cells])
    return _table(head, rows)


def _cell(results: Results, **wanted: object) -> str:
    seconds, peak = (results.median(field, **wanted) for field in ("seconds", "peak_bytes"))
    return "–" if seconds is None or peak is None else f"{seconds:.2f} / {peak / MEBIBYTE:.0f}"


def _reading(results: Results, _output: Path) -> str:
    contenders = results.values("contender")
    rows = []
    for contender in contenders:
        cells = []
        for keys in results.values("keys"):
            p50, p99 = (results.median(field, contender=contender, keys=keys) or 0.0 for field in ("p50", "p99"))
            cells.append(f"{1000 * p50:.3f} / {1000 * p99:.3f}")
        rows.append([contender, *cells])
    head = ["p50 / p99, ms", *(f"{keys:,} {'entity' if keys == 1 else 'entities'}" for keys in results.values("keys"))]
    return "## Reading\n\n10 features of each entity, from one process, one read after the other.\n\n" + _table(
        head, rows
    )


def _pushing(results: Results, _output: Path) -> str:
    sizes = results.values("rows")
    rows = []
    for way in results.values("way"):
        percents = [
            (results.median("p50", way=way, rows=size) or 0.0, results.median("p99", way=way, rows=size) or 0.0)
            for size in sizes
        ]
        rows.append([way, *(f"{1000 * p50:.2f} / {1000 * p99:.2f}" for p50, p99 in percents)])
    head = ["p50 / p99, ms", *(f"{size:,} {'row' if size == 1 else 'rows'}" for size in sizes)]
    return "## Pushing\n\nNewer rows of 10 features, in the default layout, one push after the other.\n\n" + _table(
        head, rows
    )


def _generations(results: Results, _output: Path) -> str:
    counted, phases = results.values("generations"), results.values("phase")
    rows = []
    for generations in counted:
        peak, p50, p99, reads = (
            results.median(field, generations=generations) or 0.0
            for field in ("redis_peak_per_entity", "p50", "p99", "reads_per_push")
        )
        rows.append([f"{generations}", f"{peak:.0f}", f"{1000 * p50:.2f} / {1000 * p99:.2f}", f"{reads:.2f}"])
    head = ["generations online", "peak of Redis while the last was built, bytes per entity",
            "push of one row, p50 / p99, ms", "packets to Redis per push"]  # fmt: skip
    readers = [
        [f"{phase}, cores {cores}",
         *(f"{results.median(field, phase=phase, cores=cores) or 0.0:,.0f}" for field in ("reads", "reads_per_second")),
         *(f"{1000 * (results.median(field, phase=phase, cores=cores) or 0.0):.3f}" for field in ("p50", "p99"))]
        for cores in results.values("cores") for phase in phases
    ]  # fmt: skip
    return "\n\n".join([
        "## Generations",
        _table(head, rows),
        "Readers, each reading one entity of one of three views at a time. Cores are shared by all, or set apart: "
        "Redis has one of its own, and readers come before Postgres and runs, as if they had other machines.",
        _table(["", "reads", "a second of each reader", "p50, ms", "p99, ms"], readers),
    ])  # fmt: skip


def _wide(results: Results, _output: Path) -> str:
    shown = []
    for rows, p50 in ((WIDE, False), (EMBEDDING, True)):
        for contender in results.values("contender", rows=rows):

            def figure(field: str, rows: str = rows, contender: str = contender) -> float:
                return results.median(field, rows=rows, contender=contender) or 0.0

            is_floor = contender == POSTGRES_ALONE
            shown.append([
                f"{rows}: {contender}", f"{figure('entities'):,.0f}", f"{figure('seconds'):.2f}",
                f"{figure('entities') / figure('seconds'):,.0f}",
                "–" if is_floor else f"{figure('bytes_to_redis') / figure('entities'):,.0f}",
                "–" if is_floor else f"{figure('redis_bytes_per_entity'):,.0f}",
                f"{1000 * figure('p50'):.2f}" if p50 else "–",
            ])  # fmt: skip
    head = ["", "entities", "seconds", "rows per second", "sent to Redis, bytes per entity", "Redis, bytes per entity",
            "read of 100, p50, ms"]  # fmt: skip
    return "\n\n".join([
        f"## Wide rows and embeddings\n\n{FEATURES} features of mixed types, and vectors of {DIMENSIONS} floats.",
        _table(head, shown),
    ])  # fmt: skip


def _quality(results: Results, _output: Path) -> str:
    rows = []
    for contender in results.values("contender"):
        for entities in results.values("entities", contender=contender):
            seconds, cpu, peak = (
                results.median(field, contender=contender, entities=entities) or 0.0
                for field in ("seconds", "cpu_process", "peak_bytes")
            )
            rows.append([
                contender, f"{entities:,}", f"{seconds:.2f}", f"{cpu:.2f}", f"{entities / seconds:,.0f}",
                f"{peak / MEBIBYTE:.0f}",
            ])  # fmt: skip
    head = ["", "entities", "seconds", "CPU s: process", "rows per second", "peak MiB"]
    seconds, cpu = (
        (results.median(field, contender=DEFAULT) or 0.0) / (results.median(field, contender=UNMEASURED) or 1.0)
        for field in ("seconds", "cpu_process")
    )
    return "\n\n".join([
        "## Statistics and verification",
        _table(head, rows),
        f"With statistics ÷ without: {seconds:.3f} in seconds, {cpu:.3f} in CPU seconds of the process.",
    ])  # fmt: skip


def _processes(results: Results, _output: Path) -> str:
    rows = []
    for contender in results.values("contender"):
        for entities in results.values("entities", contender=contender):
            for processes in results.values("processes", contender=contender, entities=entities):

                def figure(field: str, **wanted: object) -> float:
                    return results.median(field, **wanted) or 0.0

                wanted = {"contender": contender, "entities": entities, "processes": processes}
                rows.append([
                    contender, f"{entities:,}", f"{figure('history', **wanted):.0f}", f"{processes}",
                    f"{figure('seconds', **wanted):.2f}",
                    *(f"{figure(f'cpu_{who}', **wanted):.1f}" for who in ("process", "postgres", "redis")),
                    f"{figure('peak_bytes', **wanted) / MEBIBYTE:.0f}",
                ])  # fmt: skip
    head = ["", "entities", "rows of each", "processes", "seconds", "CPU s: processes", "Postgres", "Redis",
            "peak MiB of the largest"]  # fmt: skip
    return "## Several processes\n\n" + _table(head, rows)


def _commits(results: Results, _output: Path) -> str:
    seconds = sorted(record["seconds"] for record in results.records)
    row = [f"{len(seconds)}", *(f"{figure:.2f}" for figure in (seconds[0], median(seconds), seconds[-1]))]
    return "## From a commit to the row online\n\nA whole Airflow runs a DAG on `source_changes`.\n\n" + _table(
        ["commits", "least, s", "median, s", "greatest, s"], [row]
    )


def _imports(results: Results, _output: Path) -> str:
    rows = [
        [f"`{module}`", f"{1000 * (results.median('seconds', module=module) or 0):.1f}",
         f"{results.median('modules', module=module) or 0:.0f}"]
        for module in results.values("module")
    ]  # fmt: skip
    return "## Imports, beside what `airflow.sdk` imports\n\n" + _table(["", "ms", "modules"], rows)


def _catalog(results: Results, _output: Path) -> str:
    tables = results.values("tables")
    rows = [
        [f"{changed:,}", *(f"{results.median('seconds', tables=number, changed=changed):.2f}" for number in tables)]
        for changed in results.values("changed")
    ]
    head = ["rows changed", *(f"{number:,} other tables: s" for number in tables)]
    return "## Increments in a large database\n\nOther tables have 100 columns each.\n\n" + _table(head, rows)


def _short(value: str | float) -> str:
    """Format a number with at least three significant digits."""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value == round(value) else f"{float(f'{value:.3g}'):,}".removesuffix(".0")
