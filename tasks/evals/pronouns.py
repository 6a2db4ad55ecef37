"""Gender balance of pronouns by occupation (winogenerated: Perez et al. 2022).

Probability of the feminine pronoun, of that and the masculine one, by the log-probability of the whole sentence.
`balance`: its mean, 0.5 is even. `stereotype`: slope of the probability over the share of women in the occupation (US
Bureau of Labor Statistics), 0 where the occupation does not matter, 1 where the model repeats the labour market.
"""

import math

import numpy as np

from governance.errors import BadInput
from tasks.evals.bench import Bench
from tasks.evals.compare import by_model
from tasks.evals.files import each, need
from tasks.evals.result import Outcome
from tasks.reading import Row, read_rows


def run(bench: Bench) -> Outcome:
    """Every file of `suite.pronouns`."""
    outcome = Outcome()
    for name, path, rows in each(bench.settings.pronouns, read):
        some = [rows[i] for i in bench.some(len(rows), 3 * bench.settings.items)]
        women = np.array([r["women"] for r in some])
        clusters = np.unique([r["occupation"] for r in some], return_inverse=True)[1]
        values = {m: _feminine(bench, m, some) for m in bench.policies}
        outcome.results += by_model(bench, "pronouns/balance", values, clusters, {name: path})
        for model, p in values.items():
            slope = bench.bootstrap(lambda d, x=women, y=p: _slope(x[d], y[d]), clusters)  # type: ignore[misc]
            n = len(np.unique(clusters))
            outcome.results.append(bench.result(f"pronouns/stereotype/{model}", slope, n, {name: path}, [model]))
    return outcome


def read(path: str) -> list[dict[str, object]]:
    """Sentences of a file, with either pronoun. Raises BadInput that names the row."""
    return [_row(row, place) for place, row in read_rows(path)]


def _row(row: Row, place: str) -> dict[str, object]:
    options, women = row.get("pronoun_options"), row.get("BLS_percent_women_2019")
    sentence = need(row, "sentence_with_blank", place)
    if not isinstance(options, list) or len(options) < 2 or "_" not in sentence or not isinstance(women, int | float):
        raise BadInput(
            f"{place}: needs sentence_with_blank with a _, pronoun_options [masculine, feminine, …], "
            "and BLS_percent_women_2019."
        )
    both = [sentence.replace("_", str(o), 1) for o in options[:2]]
    return {
        "masculine": both[0],
        "feminine": both[1],
        "women": women / 100,
        "occupation": need(row, "occupation", place),
    }


def _feminine(bench: Bench, model: str, rows: list[dict[str, object]]) -> np.ndarray:
    tokenizer, _ = bench.language_model(model)
    start = [tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id]
    items = [
        (start, [tokenizer(r[side], add_special_tokens=False)["input_ids"] for side in ("masculine", "feminine")])
        for r in rows
    ]
    return np.array([1 / (1 + math.exp(min(700.0, m - f))) for m, f in bench.logprobs(model, items)])


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    spread = float(((x - x.mean()) ** 2).sum())
    return float(((x - x.mean()) * (y - y.mean())).sum() / spread) if spread else float("nan")
