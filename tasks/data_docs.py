"""Great Expectations Data Docs of the same rules, made readable without a network: no foreign styles or scripts.

The pages show, for each table and rule, how many rows were checked and which failed, by id; never a row's text. The
first page is ours: theirs fills its lists by a script.
"""

import html
import logging
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
from markupsafe import Markup

from governance.digest import write_atomic
from tasks.pages import rendered
from tasks.progress import bar

SHOWN = 20
STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:.5rem 0}td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:left}
.fa-check-circle::before{content:"\\2714";color:#187818}.fa-times::before{content:"\\2718";color:#b00020}
.modal,.navbar,#ge-cta-footer,.ge-walkthrough-modal,script{display:none}img{display:none}a{color:#0550ae}"""
FOREIGN = re.compile(
    r"<script\b.*?</script>|<link\b[^>]*>|<style\b.*?</style>|<img\b[^>]*>|<iframe\b.*?</iframe>",
    re.DOTALL | re.IGNORECASE,
)
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
VOLATILE = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}[.\d]*(?:Z|\+00:00)?|\d{8}T\d{6}\.\d+Z")


class Shown(NamedTuple):
    """What is shown of a table: `verdicts` (`id`, and a boolean column a rule), what each rule says, and a note."""

    verdicts: pl.DataFrame
    sentences: dict[str, str]
    note: str | None


def write_data_docs(tables: dict[str, Shown], out: Path) -> None:
    """Write the site to `out`: pages of rules and of verdicts for each of the tables, by name."""
    import great_expectations as gx

    # or it logs a traceback for each page of a full disk
    logging.getLogger("great_expectations.render").setLevel(logging.CRITICAL)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    with tempfile.TemporaryDirectory() as folder:
        context.add_data_docs_site(site_name="attestrl", site_config=_site(folder))
        source = context.data_sources.add_pandas("tables")
        with bar(len(tables), "data docs", "table") as progress:  # takes longer than to judge some ten thousand rows
            for name, table in tables.items():
                _validate(gx, context, source, name.replace("/", "-"), table.verdicts, table.sentences)
                progress.update()
        shutil.rmtree(out, ignore_errors=True)
        notes = {f"tables-{name.replace('/', '-')}.html": table.note for name, table in tables.items() if table.note}
        _copy_offline(Path(folder), out, notes)
    listed = [_listed(name, table, out) for name, table in tables.items()]
    write_atomic(out / "index.html", rendered("data_docs.html.j2", tables=listed, style=Markup(STYLE)))


def _listed(name: str, table: Shown, out: Path) -> dict[str, Any]:
    """What the first page says of a table, with links to its pages."""
    page = name.replace("/", "-")
    (verdicts,) = (out / "validations" / page).rglob("*.html")
    return {
        "name": name,
        "note": table.note,
        "rows": table.verdicts.height,
        "rules": len(table.sentences),
        "broken": [rule for rule in table.sentences if not table.verdicts[rule].all()],
        "verdicts": verdicts.relative_to(out).as_posix(),
        "expectations": f"expectations/{page}.html",
    }


def _site(folder: str) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": folder},
    }


def _validate(gx: Any, context: Any, source: Any, name: str, frame: pl.DataFrame, sentences: dict[str, str]) -> None:
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    suite = context.suites.add(gx.ExpectationSuite(name=name))
    for rule, sentence in sentences.items():
        expectation = gx.expectations.ExpectColumnValuesToBeInSet(column=rule, value_set=[True], notes=sentence)
        suite.add_expectation(expectation)
    definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
    checkpoint = gx.Checkpoint(
        name=name,
        validation_definitions=[context.validation_definitions.add(definition)],
        actions=[gx.checkpoint.UpdateDataDocsAction(name="pages", site_names=["attestrl"])],
        result_format={
            "result_format": "SUMMARY",
            "unexpected_index_column_names": ["id"],
            "partial_unexpected_count": SHOWN,
        },
    )
    run = gx.RunIdentifier(run_name=name)
    context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame.to_pandas()}, run_id=run)


def _copy_offline(source: Path, out: Path, notes: dict[str, str]) -> None:
    """Copy the pages, with the `notes` on those they belong to, but without anything foreign, and without times of day and random ids: the same rows, the same bytes."""
    pages = sorted(p for p in source.rglob("*.html") if p != source / "index.html")
    names = {page: VOLATILE.sub("run", page.relative_to(source).as_posix()) for page in pages}
    for page in pages:
        text = FOREIGN.sub("", page.read_text(encoding="utf-8"))
        text = VOLATILE.sub("run", text).replace("</head>", f"<style>{STYLE}</style></head>", 1)
        for number, found in enumerate(dict.fromkeys(UUID.findall(text)), start=1):
            text = text.replace(found, f"id-{number}")
        if note := notes.get(Path(names[page]).name):
            text = text.replace("<body>", f"<body><p><strong>{html.escape(note)}</strong></p>", 1)
        write_atomic(out / names[page], text)
