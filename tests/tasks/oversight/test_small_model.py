"""The small model learns what trees come to, no deeper than it was taught, and the same from the same seed."""

import numpy as np

from tasks.oversight.small_model import Size, SmallModel, examples
from tasks.oversight.trees import LOGIC


def accuracy(model: SmallModel, depth: int) -> float:
    pairs = examples(LOGIC, [depth], 300, np.random.default_rng(depth))
    best = model.log_probabilities([text for text, _ in pairs]).argmax(axis=1)
    return float(np.mean(best == [value for _, value in pairs]))


def test_learns_to_the_taught_depth_and_no_deeper_until_it_is_taught_on() -> None:
    model = SmallModel(LOGIC, Size(16, 1), seed=3)
    shallow = examples(LOGIC, [0, 1, 1, 1], 50, np.random.default_rng(0))
    first = model.learn(shallow, 150, batch=32, learning_rate=1e-2)
    assert first < 0.05
    assert accuracy(model, 0) == accuracy(model, 1) == 1
    assert accuracy(model, 2) < 0.9

    further, untouched = model.copy(), model.log_probabilities(["(1&(0|1))"])
    further.learn(shallow + examples(LOGIC, [2], 1000, np.random.default_rng(1)), 150, batch=32, learning_rate=1e-2)
    assert accuracy(further, 2) > accuracy(model, 2) + 0.05
    assert np.array_equal(model.log_probabilities(["(1&(0|1))"]), untouched)  # a copy has weights of its own


def test_same_seed_same_bytes_and_a_text_reads_the_same_in_any_company() -> None:
    pairs = examples(LOGIC, [0, 1], 50, np.random.default_rng(0))
    models = [SmallModel(LOGIC, Size(8, 1), seed) for seed in (5, 5, 6)]
    for model in models:
        model.learn(pairs, 20, batch=32)
    texts = ["1", "(1|0)", "((1&1)^0)", "(1|0)"]
    read = [model.log_probabilities(texts) for model in models]
    assert np.array_equal(read[0], read[1])
    assert not np.allclose(read[0], read[2])
    assert np.allclose(np.exp(read[0]).sum(axis=1), 1)
    assert np.allclose(models[0].log_probabilities(["(1|0)"])[0], read[0][1])
    assert models[0].log_probabilities([]).shape == (0, 2)
