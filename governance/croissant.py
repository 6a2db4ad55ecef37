"""Croissant 1.1 metadata of one dataset, with the responsible-AI vocabulary (RAI 1.0), from its datasheet.

Written as JSON, not through the library: mlcroissant 1.1.1 spells two RAI terms in other ways than the vocabulary and
names version 1.0 unless told otherwise. What nobody answered is said to be not known, with whom to ask.
"""

import re
from typing import Any

from governance.datasheet import Answer, DatasetFacts, Declared, answers
from governance.mapping import reference

CONFORMS_TO = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES = (
    ("Bool", "sc:Boolean"),
    ("Int", "sc:Integer"),
    ("UInt", "sc:Integer"),
    ("Float", "sc:Float"),
    ("Date", "sc:Date"),
    ("String", "sc:Text"),
)
_PART = re.compile(r"'([^']+)': ((?:List\(.*?\)|Struct\(.*\)|[^,]+))(?:, |$)")


def croissant(facts: DatasetFacts, declared: Declared, made: str) -> dict[str, Any]:
    """The metadata as JSON-LD; `made` is the day of the run in ISO 8601. A column that is nested deeper than a list of
    structures is named in the description instead of the record set."""
    every = {a.id: a for a in answers(facts, declared)}
    columns = facts.columns or {}
    fields = {name: kind for name, kind in columns.items() if _described(kind)}
    deeper = [name for name in columns if name not in fields]
    more = f" Columns outside the record set: {', '.join(deeper)}." if deeper else ""
    name = facts.name.replace("/", "-")
    file = f"{name}.parquet"
    document: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": name,
        "description": f"{facts.simulated or _said(every['COMP-01'])} {facts.rows} rows.{more}",
        "license": every["DIST-04"].answer or _said(every["DIST-04"]),
        "creator": {"@type": "sc:Organization", "name": _said(every["MOTI-02"])},
        "url": every["MAIN-01"].answer or _said(every["MAIN-01"]),
        "citeAs": _said(every["USES-02"]),
        "datePublished": made,
        "version": f"1.0.0+{facts.sha256[:12]}",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": file,
                "name": file,
                "contentUrl": facts.path,
                "encodingFormat": "application/x-parquet",
                "sha256": facts.sha256,
            }
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "rows",
                "name": "rows",
                "field": [_field(column, kind, file) for column, kind in fields.items()],
            }
        ],
    }
    return document | _responsible(facts, every, declared)


def _field(column: str, kind: str, file: str) -> dict[str, Any]:
    """A column: plain, a list (an array of unknown length), a structure (its fields), or a list of structures."""
    source: dict[str, Any] = {"fileObject": {"@id": file}, "extract": {"column": column}}
    found: dict[str, Any] = {"@type": "cr:Field", "@id": f"rows/{column}", "name": column, "source": source}
    inner = _within(kind, "List(", ")")
    if inner is not None:
        found |= {"isArray": True, "arrayShape": "-1"}
    parts = _parts(inner or kind)
    if not parts:
        return found | {"dataType": _type(inner or kind)}
    found["subField"] = [
        {
            "@type": "cr:Field",
            "@id": f"rows/{column}/{name}",
            "name": name,
            "dataType": _type(part),
            "source": source | {"transform": {"jsonPath": f"$.{name}"}},
        }
        for name, part in parts.items()
    ]
    return found


def _described(kind: str) -> bool:
    """Whether `_field` can say it: nothing deeper than a list of structures of plain values."""
    inner = _within(kind, "List(", ")") or kind
    return all(map(_type, _parts(inner).values())) if _parts(inner) else _type(inner) is not None


def _parts(kind: str) -> dict[str, str]:
    """Types by name of the fields of a structure, as polars writes them; none for another type."""
    inner = _within(kind, "Struct({", "})")
    return dict(_PART.findall(inner)) if inner else {}


def _within(kind: str, opening: str, closing: str) -> str | None:
    return kind[len(opening) : -len(closing)] if kind.startswith(opening) and kind.endswith(closing) else None


def _responsible(facts: DatasetFacts, every: dict[str, Answer], declared: Declared) -> dict[str, Any]:
    """Terms of the RAI vocabulary: from the topics of the datasheet that say it, or, where none does, measured, or declared
    under the term's own name."""
    measured = {"annotationsPerItem": facts.per_item, "machineAnnotationTools": facts.simulated}
    found: dict[str, Any] = {}
    for row in reference("croissant_rai"):
        term, topics = row["property"], [every[t] for t in row["topics"].split()]
        if topics:
            text = " ".join(_said(a) for a in topics)
        else:
            own = (measured.get(term), declared.answers.get(term, (None,))[0])
            text = " ".join(filter(None, own)) or f"Not known; ask {row['ask']}."
        found[f"rai:{term}"] = text
    if facts.timeframe:
        found["rai:dataCollectionTimeframe"] = list(facts.timeframe)
    return found


def _said(a: Answer) -> str:
    return a.answer or f"Not known ({a.topic}); ask {a.ask}."


def _type(kind: str) -> str | None:
    return next((croissant_type for prefix, croissant_type in _TYPES if kind.startswith(prefix)), None)
