"""What was made from what in a run, drawn as inline SVG: a box a stage, an arrow where one used what another made."""

from dataclasses import dataclass, field
from html import escape
from pathlib import PurePosixPath
from typing import Any

BOX, GAP_X, ROW, HEIGHT, MARGIN = 168, 46, 76, 56, 12
BOW = 13  # how far an arrow that passes over columns rises, for each of them
COLOURS = {"made": "#2f7d4f", "cached": "#2b6f8f", "data": "#8a8172", "gate": "#6b4fa0"}


@dataclass
class Node:
    """A box: `lines` below its name, `used` names and digests of what it used by the box that made it."""

    name: str
    kind: str
    lines: list[str] = field(default_factory=list)
    used: dict[str, list[str]] = field(default_factory=dict)


def nodes_of(stages: list[dict[str, Any]], outcomes: dict[str, str], verdict: str) -> dict[str, Node]:
    """Boxes from the records of the stages that were done, `outcomes` by stage, and the gate's verdict."""
    made = {path: s["stage"] for s in stages for path in s["outputs"]}
    nodes: dict[str, Node] = {}
    for s in stages:
        node = Node(s["stage"], outcomes.get(s["stage"], "made"))
        kept = [
            f"{PurePosixPath(p).stem} {d[:10]}" for p, d in s["outputs"].items() if not p.startswith("data/reports/")
        ]
        node.lines = kept[:2]
        for path, digest in s["inputs"].items():
            source = made.get(path)
            if source is None or source == s["stage"]:
                source = PurePosixPath(path).parent.as_posix() if PurePosixPath(path).suffix else path
                nodes.setdefault(source, Node(source, "data", ["given"]))
            node.used.setdefault(source, []).append(f"{path} {digest[:10]}")
        nodes[s["stage"]] = node
    if "evaluate" in nodes and verdict != "none":
        used: dict[str, list[str]] = {name: ["judged"] for name in ("reward", "ppo", "evaluate") if name in nodes}
        nodes["release gate"] = Node("release gate", "gate", [f"verdict: {verdict}"], used)
    return nodes


def picture(nodes: dict[str, Node]) -> str:
    """SVG of the boxes, each in the column after everything it used."""
    columns = _columns(nodes)
    rows = max((len(c) for c in columns), default=0)
    top = MARGIN + BOW * len(columns)
    at = {
        name: (MARGIN + x * (BOX + GAP_X), top + y * ROW + (rows - len(column)) * ROW / 2)
        for x, column in enumerate(columns)
        for y, name in enumerate(column)
    }
    width, height = len(columns) * (BOX + GAP_X) + MARGIN, top + rows * ROW + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="Lineage of the run" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}">'
    ]
    parts += [_arrow(at[s], at[n.name], used) for n in nodes.values() for s, used in n.used.items()]
    parts += [_box(n, *at[n.name]) for n in nodes.values()]
    return "".join([*parts, "</svg>"])


def _columns(nodes: dict[str, Node]) -> list[list[str]]:
    depth: dict[str, int] = {}

    def of(name: str, above: tuple[str, ...] = ()) -> int:
        if name not in depth:
            sources = [s for s in nodes[name].used if s not in above]
            depth[name] = 1 + max((of(s, (*above, name)) for s in sources), default=-1)
        return depth[name]

    for name in nodes:
        of(name)
    return [[n for n in nodes if depth[n] == d] for d in range(max(depth.values(), default=-1) + 1)]


def _box(node: Node, x: float, y: float) -> str:
    texts = [f'<text x="{x + 9:g}" y="{y + 18:g}" class="name">{escape(_short(node.name, 19))}</text>']
    texts += [
        f'<text x="{x + 9:g}" y="{y + 33 + 14 * i:g}">{escape(_short(t))}</text>' for i, t in enumerate(node.lines)
    ]
    return (
        f'<g><title>{escape(node.name)}</title><rect x="{x:g}" y="{y:g}" width="{BOX}" height="{HEIGHT}" rx="6" '
        f'stroke="{COLOURS.get(node.kind, "#b23b3b")}"/>{"".join(texts)}</g>'
    )


def _arrow(start: tuple[float, float], end: tuple[float, float], used: list[str]) -> str:
    x1, y1, x2, y2 = start[0] + BOX, start[1] + HEIGHT / 2, end[0], end[1] + HEIGHT / 2
    over = round((x2 - x1 - GAP_X) / (BOX + GAP_X))
    bow = HEIGHT + 1.5 * BOW * over if over else 0
    reach = (x2 - x1) / (3 if over else 2)
    line = f"M{x1:g} {y1:g}C{x1 + reach:g} {y1 - bow:g} {x2 - reach:g} {y2 - bow:g} {x2:g} {y2:g}"
    return f'<path d="{line}"><title>{escape(chr(10).join(used))}</title></path>'


def _short(text: str, most: int = 26) -> str:
    return text if len(text) <= most else "…" + text[1 - most :]
