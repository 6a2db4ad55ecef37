"""The review queue as Label Studio tasks, and Label Studio's annotations for the queue.

Tasks and annotations are those of Label Studio's JSON import and export (as 1.23.2 reads and writes them);
`configuration` is the labelling configuration of a project for items with so many responses: stars for each criterion of
one response, a ranker for several, and a reason. The order in which responses stand is drawn for each item, and kept in
the task; a response is named by its place in it.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

from governance.errors import BadInput
from tasks.review_store import CRITERIA, Answer, Item

PLACE = "shown-"  # before the place of a response: the ranker would put numbers alone in their own order, not in the one drawn


def tasks(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Items that show equally many responses, as tasks."""
    return [
        {
            "data": {
                "item_id": item.id,
                "prompt": "\n\n".join(f"{m['role']}: {m['content']}" for m in item.prompt),
                "why": item.why,
                "responses": [{"id": f"{PLACE}{k}", "title": f"Response {k}", "body": item.responses[i]}
                              for k, i in enumerate(item.order, start=1)],
                "response": item.responses[item.order[0]],
                "shown_order": item.order,
            }
        }
        for item in items
    ]  # fmt: skip


def configuration(responses: int) -> str:
    """XML of the labelling configuration."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Text", name="prompt", value="$prompt")
    ElementTree.SubElement(view, "Text", name="why", value="$why")
    if responses == 1:
        ElementTree.SubElement(view, "Text", name="response", value="$response")
        for criterion in CRITERIA:
            ElementTree.SubElement(view, "Header", value=criterion)
            ElementTree.SubElement(view, "Rating", name=criterion, toName="response", maxRating="5")
    else:
        ElementTree.SubElement(view, "List", name="responses", value="$responses", title="The best first")
        ElementTree.SubElement(view, "Ranker", name="ranking", toName="responses")
    reason_of = "prompt" if responses > 1 else "response"
    ElementTree.SubElement(view, "TextArea", name="reason", toName=reason_of, placeholder="Why?")
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def answers(document: list[Any], name: str) -> Iterator[Answer]:
    """Annotations of exported tasks that were not skipped. Raises BadInput that names the task."""
    for number, task in enumerate(document, start=1):
        try:
            data = task["data"]
            order = [int(i) for i in data["shown_order"]]
            for annotation in task.get("annotations") or []:
                if not annotation.get("was_cancelled"):
                    yield Answer(str(data["item_id"]), _who(annotation["completed_by"]), _content(annotation, order))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise BadInput(
                f"{name}: task {number}: is no task of the review queue with annotations; export it as JSON again."
            ) from None


def _who(given: Any) -> str:
    return str(given.get("email") or given["id"]) if isinstance(given, dict) else str(given)


def _content(annotation: dict[str, Any], order: list[int]) -> dict[str, Any]:
    values = {r["from_name"]: r["value"] for r in annotation["result"]}
    ranked = values.get("ranking", {}).get("ranker")
    if isinstance(ranked, dict):  # with buckets, the ranking is the only one of them
        ranked = next(iter(ranked.values()), None)
    ratings = {c: int(values[c]["rating"]) if c in values else None for c in CRITERIA}
    text = values.get("reason", {}).get("text", "")
    reason = "\n".join(text) if isinstance(text, list) else str(text)
    seconds = annotation.get("lead_time")
    at = {f"{PLACE}{k}": response for k, response in enumerate(order, start=1)}
    return {
        "ranking": [at[place] for place in ranked] if ranked else None,
        "shown_order": order,
        "ratings": ratings,
        "reason": reason.strip(),
        "seconds": None if seconds is None else round(float(seconds), 1),
    }
